"""Where weights lie, what the families load unless told otherwise, and fetching from the hub."""

from inference_worker.weights.hub import FetchError, fetch
from inference_worker.weights.packaged import PACKAGED, unpack
from inference_worker.weights.places import find, locate, loose
from inference_worker.weights.published import PUBLISHED, Published

__all__ = ["PACKAGED", "PUBLISHED", "FetchError", "Published", "fetch", "find", "locate", "loose", "unpack"]
