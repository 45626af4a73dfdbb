"""What containers would run: compose.yaml and the Dockerfile, read as Compose and Docker read them, without either."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "compose.yaml"
DOCKERFILE = ROOT / "Dockerfile"

VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*):-([^${}]*)\}")
"""The one form in which compose.yaml takes a variable: with its default."""

DURATION = re.compile(r"(\d+)(s|m)")


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a value of compose.yaml with its variables filled in; raise `ValueError` on any other use of `$`."""
    if isinstance(value, dict):
        return {name: filled(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, variables) for each in value]
    if not isinstance(value, str):
        return value
    if "$" in VARIABLE.sub("", value):
        raise ValueError(f"{value!r} is not of the form ${{NAME:-default}}")
    return VARIABLE.sub(lambda found: variables.get(found[1]) or found[2], value)


def seconds(duration: str) -> int:
    """Return a duration of compose.yaml in seconds."""
    found = DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is neither in s nor in m")
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


@dataclass(frozen=True, slots=True)
class Image:
    """What a target of the Dockerfile makes: its instructions in order, those it inherits first."""

    target: str
    instructions: Sequence[tuple[str, str]]

    def all(self, keyword: str) -> list[str]:
        """Return what stands behind every instruction of that name."""
        return [rest for name, rest in self.instructions if name == keyword]

    def last(self, keyword: str) -> str:
        """Return what stands behind the last instruction of that name, the one that counts, or ""."""
        return (self.all(keyword) or [""])[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What its processes find in their environment."""
        pairs = [word.partition("=") for rest in self.all("ENV") for word in shlex.split(rest)]
        return {name: value for name, _, value in pairs}

    @property
    def entrypoint(self) -> list[str]:
        """What every container of it runs."""
        return list(json.loads(self.last("ENTRYPOINT")))

    @property
    def probe(self) -> list[str]:
        """The command of its health check."""
        return list(json.loads(self.last("HEALTHCHECK").partition("CMD ")[2]))


def images() -> dict[str, Image]:
    """Return the images of all stages of the Dockerfile, by name."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE)
    made: dict[str, Image] = {}
    target, instructions = "", list[tuple[str, str]]()
    for line in re.sub(r"\\\n", "", text).splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            base, _, target = rest.partition(" AS ")
            inherited = made[base].instructions if base in made else [("FROM", base)]
            instructions = list(inherited)
            made[target] = Image(target, instructions)
        elif keyword:
            instructions.append((keyword, rest.strip()))
    return made


@dataclass(frozen=True, slots=True)
class Service:
    """A service of compose.yaml, its variables filled in."""

    name: str
    definition: Mapping[str, Any]

    @classmethod
    def all(cls, variables: Mapping[str, str] | None = None) -> dict[str, Self]:
        """Return the services by name, as they are with these variables set and no others."""
        loaded = YAML(typ="safe").load(COMPOSE)
        return {name: cls(name, filled(what, variables or {})) for name, what in loaded["services"].items()}

    @property
    def target(self) -> str:
        """The target of the Dockerfile it is built from, or "" where its image comes from elsewhere."""
        return str(self.definition.get("build", {}).get("target", ""))

    @property
    def line(self) -> list[str]:
        """What it runs: the command behind the entry point, its own or its image's."""
        ours = images()[self.target].entrypoint if self.target else []
        return [*self.definition.get("entrypoint", ours), *self.definition["command"]]

    @property
    def given(self) -> dict[str, str]:
        """What compose.yaml puts into its environment; a name without a value is passed on from outside."""
        environment = self.definition.get("environment", {})
        return {name: value for name, value in environment.items() if value is not None}

    @property
    def environment(self) -> dict[str, str]:
        """What its processes find in their environment."""
        return {**(images()[self.target].environment if self.target else {}), **self.given}

    @property
    def probe(self) -> list[str]:
        """The command of its health check."""
        form, *line = self.definition["healthcheck"]["test"]
        if form != "CMD":
            raise ValueError(f"{self.name} is probed through a shell")
        return list(line)

    @property
    def volumes(self) -> list[str]:
        """What is mounted where."""
        return list(self.definition.get("volumes", []))


def variables() -> dict[str, set[str]]:
    """Return the variables compose.yaml takes, each with the defaults it gives them."""
    told: dict[str, set[str]] = {}
    for name, default in VARIABLE.findall(COMPOSE.read_text("utf-8")):
        told.setdefault(name, set()).add(default)
    return told
