"""Which models share an engine process, on which device. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SHARED, PER_MODEL = "shared", "per-model"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine process.

    Attributes:
        device: the device it computes on.
        models: the entries of `--models` it serves.
        elsewhere: the entries that other engines of the worker serve.
    """

    device: str
    models: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Names of its models, for metrics and people."""
        return ",".join(map(name_of, self.models))


def name_of(entry: str) -> str:
    """Return the name of an entry of `--models`, without its source; a class without a name has its path as name."""
    name, separator, _ = entry.partition("=")
    # an equals sign behind `module:Class` is one of the source
    return name if separator and ":" not in name else entry.partition("@")[0] if ":" in name else name


def plan_engines(engines: str, entries: Sequence[str], devices: Sequence[str]) -> tuple[EngineSpec, ...]:
    """Return the engines of a worker: each group of models on each device; raise `ValueError` naming a wrong group.

    `engines` is "shared", "per-model", or the names of groups, such as "whisper;siglip,yunet".
    """
    groups = _groups(engines, entries)
    return tuple(
        EngineSpec(device, group, tuple(entry for entry in entries if entry not in group))
        for device in devices
        for group in groups
    )


def _groups(engines: str, entries: Sequence[str]) -> list[tuple[str, ...]]:
    if engines.strip() == SHARED:
        return [tuple(entries)]
    names = [name_of(entry) for entry in entries]
    _check_unique(names, "named twice by --models")
    if engines.strip() == PER_MODEL:
        return [(entry,) for entry in entries]
    groups = [[name.strip() for name in group.split(",")] for group in engines.split(";")]
    grouped = [name for group in groups for name in group]
    unknown = [name for name in grouped if name not in names]
    if unknown:
        expected = f'"{SHARED}", "{PER_MODEL}", or groups of the models served, {", ".join(names)}'
        raise ValueError(f"expected {expected}; got {unknown[0]!r}")
    _check_unique(grouped, "in two groups")
    missing = [name for name in names if name not in grouped]
    if missing:
        raise ValueError(f"every model served must be in a group; {', '.join(missing)} must be added")
    return [tuple(entries[names.index(name)] for name in group) for group in groups]


def _check_unique(names: Sequence[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"every model must have one engine; {', '.join(twice)} is {what}")
