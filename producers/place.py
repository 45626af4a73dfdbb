"""Which Redis the command line talks to."""

from dataclasses import dataclass

import typer

from rpc import Client, RedisSettings


@dataclass(frozen=True, slots=True)
class Place:
    """The global options; what they do not say, the environment does.

    Attributes:
        url: `--redis-url`.
        prefix: `--prefix`.
    """

    url: str | None = None
    prefix: str | None = None

    def settings(self) -> RedisSettings:
        """Return the settings of environment and options; raise `SettingError` by name."""
        return RedisSettings.from_env(url=self.url, prefix=self.prefix)

    def client(self) -> Client:
        """Return a client, to be closed by the caller."""
        return Client(settings=self.settings())


def place_of(context: typer.Context) -> Place:
    """Return the global options of the command being run."""
    place = context.find_root().obj
    return place if isinstance(place, Place) else Place()
