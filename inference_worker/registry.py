"""From the names given with `--models` to loaded models. Imports only what is asked for."""

import importlib
import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inference_worker.memory_demand import Demand, ModelDemand
from inference_worker.models.base import Model, Runtime
from inference_worker.settings import EVERY_MODEL, FAMILIES
from inference_worker.standins import cache
from inference_worker.weights import PACKAGED, unpack
from rpc.keys import check_model

log = logging.getLogger(__name__)

MODELS = {
    "echo": "inference_worker.models.echo:Echo",
    "minilm": "inference_worker.models.sentence_encoder:MiniLM",
    "whisper": "inference_worker.models.whisper:Whisper",
    "siglip": "inference_worker.models.siglip:Siglip",
    "bge-m3": "inference_worker.models.bge_m3:BgeM3",
    "yunet": "inference_worker.models.yunet:YuNet",
}
"""The models the project brings, by name."""

ENCODER = "inference_worker.models.sentence_encoder:SentenceEncoder"
"""What `name=source` loads where neither name nor source says otherwise."""

OWN_CLASS = re.compile(r"(?:(?P<name>[^=]+)=)?(?P<path>[^\W\d][\w.]*:[^\W\d]\w*)(?:@(?P<source>.+))?", re.DOTALL)
"""A user's own class: `module:Class`, with a name before it or a source behind it."""

STAND_IN = "stand-in"


@dataclass(frozen=True, slots=True)
class Standins:
    """Which families are served from hand-made weights, and where those are kept."""

    mode: Literal["no", "all", "missing"] = "no"
    directory: Path = Path()


class RegistryError(Exception):
    """A model named at start cannot be served; the message says which and why."""


@dataclass(frozen=True, slots=True)
class _Spec:
    """One entry of `--models`: the name to serve under, which class, from what; the family is "" if it is none."""

    name: str
    path: str
    source: str = ""
    family: str = ""

    @classmethod
    def of(cls, text: str) -> "_Spec":
        if own := OWN_CLASS.fullmatch(text):
            path, source = own["path"], own["source"] or ""
            if path.partition(":")[0] not in MODELS and not Path(path).expanduser().exists():
                return cls(own["name"] or "", path, source)
        name, given, source = text.partition("=")
        family, _, rest = source.partition(":")
        if given and family in MODELS:
            return cls(name, MODELS[family], rest, family)
        if name in MODELS:
            return cls(name, MODELS[name], source, name)
        return cls(name, ENCODER, source) if source else cls("", text)


def build(text: str, runtime: Runtime, standins: Standins = Standins()) -> Model:
    """Return the model of one entry of `--models`, not yet loaded.

    `echo` is a model of the project, `siglip=source` one of its families from other weights, `asr=whisper:source` the
    same under another name, `name=source` any sentence encoder, `module:Class` a user's own,
    `name=module:Class@source` the same under another name and from a source of its own.
    A source is a directory, a file, a hub id or a name in `PACKAGED`; a class may read it otherwise.
    """
    spec = _Spec.of(text)
    try:
        kind = _class(spec.path)
        model = kind(replace(runtime, source=_source(spec, standins)))
        if spec.family in FAMILIES and (standins.mode == "missing" or (standins.mode == "all" and not spec.source)):
            model = _stood_in(model, kind, spec, standins)
        model.weights = model.weights or spec.source
        model.name = spec.name or model.name
        check_model(model.name)
    except Exception as error:
        raise RegistryError(f"--models {text}: {error}") from error
    if not model.ops:
        raise RegistryError(f"--models {text}: {type(model).__name__} offers no ops")
    return model


def _source(spec: _Spec, standins: Standins) -> str:
    """Return the source to load from: the directory of a packaged one, any other as it is."""
    source = spec.source
    if source not in PACKAGED or (standins.mode == "missing" and not PACKAGED[source].installed):
        return source
    return str(unpack(source, standins.directory))


def _stood_in(model: Model, kind: type[Model], spec: _Spec, standins: Standins) -> Model:
    """Return the model on hand-made weights, or as it is if its own are there and are to be preferred."""
    if standins.mode == "missing":
        try:
            model.needs()
        except FileNotFoundError as missing:
            log.info("%s is served by a stand-in: %s", spec.name, missing)
        else:
            return model
    source = cache.built(spec.family, standins.directory)
    stood_in = kind(replace(model.runtime, source=str(source)))
    stood_in.weights = STAND_IN
    return stood_in


def _class(path: str) -> type[Model]:
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        names = ", ".join(MODELS)
        raise RegistryError(f"expected one of {names}, name=source, module:Class or name=module:Class@source")
    kind = getattr(importlib.import_module(module), attribute)
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise RegistryError(f"{path} is no subclass of inference_worker.models.base.Model")
    return kind


def build_all(specs: Sequence[str], runtime: Runtime, standins: Standins = Standins()) -> list[Model]:
    """Return the models of `--models`; raise if two of them have one name."""
    models = [build(spec, runtime, standins) for spec in specs]
    names = [model.name for model in models]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RegistryError(f"--models: {', '.join(sorted(twice))} is named twice; name=… gives one another name")
    return models


def check_named(names: Iterable[str], models: Iterable[Model], elsewhere: Sequence[str] = ()) -> None:
    """Raise `RegistryError` if `batch_cost` names a model that is not served: it would do nothing.

    `elsewhere` are the entries of `--models` that other engines serve; the name of a `module:Class` is not known here.
    """
    served = [model.name for model in models] + [_Spec.of(entry).name for entry in elsewhere]
    strange = [name for name in names if name not in {*served, EVERY_MODEL}]
    if strange and all(served):
        raise RegistryError(f"PENSTOCK_BATCH_COST: {strange[0]} is none of the models served: {', '.join(served)}")


def demand(models: Iterable[Model]) -> Demand:
    """Return what the weights of the models take on their devices, and what is free; raise `RegistryError`.

    Weights that have to be fetched are fetched here.
    """
    required = {model: _needs(model) for model in models}
    free = {model.where(): model.free() for model in required}
    return Demand([ModelDemand(model.name, model.where(), size) for model, size in required.items()], free)


def _needs(model: Model) -> int:
    try:
        return model.needs()
    except Exception as error:
        raise _not_loaded(model, error) from error


def _not_loaded(model: Model, error: Exception) -> RegistryError:
    return RegistryError(f"model {model.name} cannot be loaded: {type(error).__name__}: {error}")


def load(model: Model) -> None:
    """Load a model and run its warm-up; raise `RegistryError` with its reason if it cannot."""
    started = time.monotonic()
    try:
        model.load()
        model.warm_up()
    except Exception as error:
        raise _not_loaded(model, error) from error
    log.info("%s loaded and warm after %.1f s", model.name, time.monotonic() - started)
