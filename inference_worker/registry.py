"""From the names given with `--models` to loaded models. Imports only what is asked for."""

import importlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from inference_worker.models.base import Model, Runtime
from rpc.keys import check_model

log = logging.getLogger(__name__)

MODELS = {
    "echo": "inference_worker.models.echo:Echo",
    "minilm": "inference_worker.models.sentence_encoder:MiniLM",
}
"""The models the project brings, by name."""

ENCODER = "inference_worker.models.sentence_encoder:SentenceEncoder"
"""What `name=source` loads."""


class RegistryError(Exception):
    """A model named at start cannot be served; the message says which and why."""


def build(spec: str, runtime: Runtime) -> Model:
    """Return the model of one entry of `--models`, not yet loaded.

    `echo` is a model of the project, `name=directory-or-hub-id` a sentence encoder, `module:Class` a user's own.
    """
    name, _, source = spec.partition("=")
    path = ENCODER if source else MODELS.get(spec, spec)
    try:
        model = _class(path)(replace(runtime, source=source))
        if source:
            model.name = name
        check_model(model.name)
    except Exception as error:
        raise RegistryError(f"--models {spec}: {error}") from error
    if not model.ops:
        raise RegistryError(f"--models {spec}: {type(model).__name__} offers no ops")
    return model


def _class(path: str) -> type[Model]:
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise RegistryError(f"neither one of {', '.join(MODELS)}, nor name=source, nor module:Class")
    kind = getattr(importlib.import_module(module), attribute)
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise RegistryError(f"{path} is no subclass of inference_worker.models.base.Model")
    return kind


def build_all(specs: Sequence[str], runtime: Runtime) -> list[Model]:
    """Return the models of `--models`; raise if two of them have one name."""
    models = [build(spec, runtime) for spec in specs]
    names = [model.name for model in models]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RegistryError(f"--models: {', '.join(sorted(twice))} is named twice")
    return models


def load(model: Model) -> None:
    """Load a model and run its warm-up; raise `RegistryError` with its reason if it cannot."""
    started = time.monotonic()
    try:
        model.load()
        model.warm_up()
    except Exception as error:
        raise RegistryError(f"model {model.name} cannot be loaded: {type(error).__name__}: {error}") from error
    log.info("%s loaded and warm after %.1f s", model.name, time.monotonic() - started)
