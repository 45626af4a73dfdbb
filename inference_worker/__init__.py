"""The process that owns a device: it reads jobs, batches their units across callers, and replies."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("penstock")
except PackageNotFoundError:
    __version__ = "0+unknown"
