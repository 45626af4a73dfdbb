"""The JSON files beside weights, read with their values checked: an error names the file, the setting and the value."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_worker.models import pretrained


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A map of settings and the file it comes from; a file that does not exist holds none."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "SettingsFile":
        """Return the settings of a file; raise `ValueError` if it does not hold a map in JSON."""
        return cls(path, pretrained.read_json(path) if path.is_file() else {})

    def wrong(self, name: str, expected: str) -> ValueError:
        """Return the error for a setting that is not what is expected."""
        return ValueError(f"{self.path}: {name} must be {expected}, got {self.values.get(name)!r:.200}")

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raise `ValueError` on a setting that is not known, unless it is off: it may change vectors."""
        for name, value in self.values.items():
            if name not in known and value not in (None, False):
                raise ValueError(f"{self.path}: the setting {name} is not served, got {value!r:.200}")

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a setting that is true or false; null is the default."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def size(self, name: str) -> int:
        """Return a setting that is a whole number above 0."""
        value = self.optional_size(name)
        if value is None:
            raise self.wrong(name, "a whole number above 0")
        return value

    def optional_size(self, name: str) -> int | None:
        """Return a setting that is a whole number above 0, or null or absent."""
        value = self.values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise self.wrong(name, "a whole number above 0")
        return value

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a setting that is a map; null and absent are an empty one."""
        value = self.values.get(name) or {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "a map")
        return value
