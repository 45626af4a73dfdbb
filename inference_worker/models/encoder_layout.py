"""The directory of a sentence encoder as sentence-transformers saves it: its modules, limits and prompts.

`modules.json` lists the modules in the order they run: a Transformer, a Pooling, and any number of Dense, LayerNorm,
Dropout and Normalize modules. A directory without it holds a Transformer only; its vector is then the mean of the token
vectors, as sentence-transformers assumes, unless `1_Pooling/config.json` says otherwise. A setting that changes vectors
and is not known here is refused, so a vector is never quietly a different one than its publisher's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from inference_worker.models import pretrained
from inference_worker.models.prompts import Prompts
from inference_worker.models.settings_file import SettingsFile

POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Flag of a pooling configuration before sentence-transformers 5.5 -> mode, in the order they are concatenated."""

POOLING_MODES = tuple(POOLING_FLAGS.values())

POOLING_SETTINGS = ("pooling_mode", "include_prompt", "word_embedding_dimension", "embedding_dimension")

HEADS = ("Dense", "LayerNorm", "Dropout", "Normalize")
"""Modules that may follow the pooling."""

TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names of the Transformer module's own configuration; the first that exists counts."""

TEXT_ONLY = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}

REQUIRED_VALUES: Mapping[str, Any] = {
    "transformer_task": "feature-extraction",
    "modality_config": TEXT_ONLY,
    "module_output_name": "token_embeddings",
    **dict.fromkeys(("query_length", "document_length", "query_expansion", "tokenizer_name_or_path"), None),
}
"""Settings of the Transformer module -> the one value that is served, besides null."""

WITHOUT_EFFECT = frozenset({"dtype", "torch_dtype", "attn_implementation", "local_files_only", "padding_side"})
"""Arguments of Transformers that do not change which vector is computed; number type and padding are the worker's."""

MODEL_TYPES = {
    "CrossEncoder": "a reranker: rerankers are not served yet",
    "SparseEncoder": "a sparse encoder such as SPLADE: sparse encoders are not served yet",
    "MultiVectorEncoder": "a multi-vector encoder such as ColBERT: those are not served",
}
"""`model_type` of `config_sentence_transformers.json` -> the reason for which it is refused."""

ARCHITECTURES = {
    "ForSequenceClassification": "a classifier or reranker: rerankers are not served yet",
    "ForMaskedLM": "a masked language model or SPLADE, not a sentence encoder",
    "ForCausalLM": "a language model, not a sentence encoder",
}
"""End of an architecture's name -> the reason for which a directory without `modules.json` is refused."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """How token vectors become one: the modes, concatenated in order, and whether tokens of a prompt take part."""

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A module behind the pooling: its kind, its directory and its settings."""

    kind: str
    directory: Path
    settings: SettingsFile


@dataclass(frozen=True, slots=True)
class EncoderLayout:
    """A directory's modules, checked.

    Attributes:
        transformer: the directory of the Transformer module.
        pooling: how token vectors become one.
        heads: what follows, without Normalize modules at the end.
        prompts: the prompts, and the default one.
        max_tokens: most tokens its publisher wants read of a text, or None.
        lower_case: whether texts are lower-cased before they are tokenized.
        declared: whether the directory says how token vectors are pooled.
        similarity: the similarity its vectors are meant for, or "".
    """

    transformer: Path
    pooling: Pooling
    heads: tuple[HeadSpec, ...]
    prompts: Prompts
    max_tokens: int | None
    lower_case: bool
    declared: bool
    similarity: str


def read_layout(directory: Path) -> EncoderLayout:
    """Return the layout of a directory.

    Raises:
        FileNotFoundError: a file that it names does not exist.
        ValueError: it is not a sentence encoder, or has a module or a setting that is not served; the message names it.
    """
    settings = SettingsFile.read(directory / "config_sentence_transformers.json")
    if reason := MODEL_TYPES.get(str(settings.values.get("model_type", ""))):
        raise ValueError(f"{directory} is {reason}")
    if (directory / "adapter_config.json").is_file():
        raise ValueError(f"{directory} is an adapter (PEFT): merge it into its model and save that")
    modules = _modules(directory)
    transformer = modules[0].directory if modules else directory
    if not modules:
        _check_architecture(transformer)
    max_tokens, lower_case = _transformer_settings(transformer)
    return EncoderLayout(
        transformer=transformer,
        pooling=_pooling(directory, modules),
        heads=_without_last_normalize(modules[2:]),
        prompts=Prompts.of(settings),
        max_tokens=max_tokens,
        lower_case=lower_case,
        declared=bool(modules) or (directory / "1_Pooling" / "config.json").is_file(),
        similarity=str(settings.values.get("similarity_fn_name") or ""),
    )


def _modules(directory: Path) -> list[HeadSpec]:
    """Return the modules of `modules.json` in order, none if there is no such file; raise unless they can be run."""
    file = directory / "modules.json"
    if not file.is_file():
        return []
    modules = [_module(directory, entry) for entry in pretrained.read_json_list(file)]
    kinds = [module.kind for module in modules]
    for position, kind in enumerate(kinds):
        expected = ("Transformer", "Pooling")[position : position + 1] or HEADS
        if kind not in expected:
            raise ValueError(f"{file}: module {position} must be {' or '.join(expected)}, got {kind}")
    if len(kinds) < len(("Transformer", "Pooling")):
        raise ValueError(f"{file}: expected a Transformer and a Pooling module, got {', '.join(kinds) or 'no module'}")
    return modules


def _module(directory: Path, entry: Any) -> HeadSpec:
    file = directory / "modules.json"
    class_path = str(entry.get("type") or "") if isinstance(entry, dict) else ""
    if not class_path:
        raise ValueError(f"{file}: each module must be a map with a type, got {entry!r:.200}")
    package, _, kind = class_path.rpartition(".")
    if package.partition(".")[0] != "sentence_transformers" or kind not in ("Transformer", "Pooling", *HEADS):
        raise ValueError(f"{file}: modules of type {class_path} are not served")
    if entry.get("kwargs"):
        raise ValueError(f"{file}: arguments of modules are not served: {entry['kwargs']!r:.200}")
    path = PurePosixPath(str(entry.get("path") or ""))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{file}: the path {str(path)!r} leads outside the directory")
    place = directory / path
    return HeadSpec(kind, place, SettingsFile.read(place / "config.json"))


def _check_architecture(directory: Path) -> None:
    """Raise unless weights without `modules.json` are those of a bare encoder: heads for other tasks are dropped."""
    pretrained.require(directory, "config.json")
    for name in pretrained.read_json(directory / "config.json").get("architectures") or ():
        for end, reason in ARCHITECTURES.items():
            if str(name).endswith(end):
                raise ValueError(f"{directory} is {reason} ({name} and no modules.json)")
        if "For" in str(name):
            raise ValueError(f"{directory} is not a sentence encoder ({name} and no modules.json)")


def _transformer_settings(directory: Path) -> tuple[int | None, bool]:
    """Return the most tokens of a text, or None, and whether texts are lower-cased."""
    files = [directory / name for name in TRANSFORMER_CONFIGS]
    settings = SettingsFile.read(next((file for file in files if file.is_file()), files[0]))
    for name, expected in REQUIRED_VALUES.items():
        if settings.values.get(name) not in (None, expected):
            raise settings.wrong(name, repr(expected))
    arguments = [name for name in settings.values if name.endswith(("_args", "_kwargs"))]
    settings.refuse_unknown((*arguments, *REQUIRED_VALUES, "max_seq_length", "do_lower_case", "unpad_inputs"))
    max_tokens = settings.optional_size("max_seq_length")
    for name in arguments:
        section = SettingsFile(settings.path, settings.section(name))
        section.refuse_unknown((*WITHOUT_EFFECT, "model_max_length"))
        max_tokens = section.optional_size("model_max_length") or max_tokens
    return max_tokens, settings.flag("do_lower_case", default=False)


def _pooling(directory: Path, modules: Sequence[HeadSpec]) -> Pooling:
    if modules:
        pretrained.require(modules[1].directory, "config.json")
        settings = modules[1].settings
    else:
        settings = SettingsFile.read(directory / "1_Pooling" / "config.json")
    settings.refuse_unknown((*POOLING_FLAGS, *POOLING_SETTINGS))
    return Pooling(_pooling_modes(settings), settings.flag("include_prompt", default=True))


def _pooling_modes(settings: SettingsFile) -> tuple[str, ...]:
    modes = settings.values.get("pooling_mode")
    if modes is None:
        return tuple(mode for flag, mode in POOLING_FLAGS.items() if settings.flag(flag, default=False)) or ("mean",)
    if isinstance(modes, str):
        modes = [modes]
    if not isinstance(modes, list) or not modes or any(mode not in POOLING_MODES for mode in modes):
        raise settings.wrong("pooling_mode", f"one or some of {', '.join(POOLING_MODES)}")
    return tuple(modes)


def _without_last_normalize(modules: Sequence[HeadSpec]) -> tuple[HeadSpec, ...]:
    """Return the modules without Normalize at the end: whether vectors have unit norm is an option of the caller's."""
    kept = list(modules)
    while kept and kept[-1].kind == "Normalize":
        kept.pop()
    return tuple(kept)
