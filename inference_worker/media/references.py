"""Inputs by reference: what may be opened is decided here, and nothing else is."""

from collections.abc import Mapping, Sequence
from typing import Self

from inference_worker import addresses
from inference_worker.addresses import LocalFile, Prefix
from inference_worker.media import files
from inference_worker.media.stores import Store
from inference_worker.settings import WorkerSettings
from rpc.errors import InvalidInput, RpcError
from rpc.messages import Reference
from rpc.settings import SettingError


class References:
    """Opens what lies under a root of this machine, or under a prefix of a store."""

    def __init__(
        self, root: str, prefixes: Sequence[Prefix], stores: Mapping[str, Store], *, most_bytes: int, timeout_s: float
    ) -> None:
        self._root = root
        self._prefixes = prefixes
        self._stores = stores
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s

    @classmethod
    def of(cls, settings: WorkerSettings, *, most_bytes: int) -> Self:
        """Make ready what the settings allow; raise `SettingError` if a prefix cannot be served."""
        prefixes = [Prefix.of(text) for text in settings.media_prefixes]
        stores: dict[str, Store] = {}
        for prefix in prefixes:
            try:
                stores[prefix.scheme] = stores.get(prefix.scheme) or Store(prefix.scheme)
            except Exception as error:
                # whatever a library says to the options it is configured with
                raise SettingError(f"PENSTOCK_MEDIA_PREFIXES={str(prefix)!r}: {error}") from error
        return cls(settings.media_root, prefixes, stores, most_bytes=most_bytes, timeout_s=settings.media_timeout_s)

    def read(self, reference: Reference) -> bytes:
        """Return the bytes of the file that a reference names.

        Raises:
            InvalidInput: it may not be opened, is not there, or is too large.
            Unavailable: where it lies cannot be reached now.
        """
        try:
            return self._read(reference.url)
        except RpcError as error:
            raise type(error)(f"reference {str(reference)!r}: {error}") from None

    def _read(self, url: str) -> bytes:
        place = addresses.read(url)
        if isinstance(place, LocalFile):
            if not self._root:
                raise InvalidInput("this worker opens no files (PENSTOCK_MEDIA_ROOT)")
            return files.read(self._root, place.path, most_bytes=self._most_bytes)
        if not any(prefix.admits(place) for prefix in self._prefixes):
            raise InvalidInput("it lies under no prefix that this worker opens (PENSTOCK_MEDIA_PREFIXES)")
        store = self._stores[place.scheme]
        return store.read(place, most_bytes=self._most_bytes, timeout_s=self._timeout_s)
