"""Where weights lie: a path, the models directory, or the hub's cache; and fetching them from the hub."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError


def locate(source: str, *, models_dir: str = "", patterns: Sequence[str] = ()) -> Path:
    """Return where the weights of `source` lie, fetching them from the hub if nothing else has them.

    Looked at in this order: `source` as a path; `models_dir/source`; `models_dir/` and the last part of `source`;
    the hub's cache; the hub itself, unless HF_HUB_OFFLINE is set. `patterns` are the files wanted of a hub repository.

    Raises:
        FileNotFoundError: nothing has them; the message says where was looked.
    """
    places = [Path(source).expanduser()]
    if models_dir:
        places += [Path(models_dir) / source, Path(models_dir) / source.rpartition("/")[2]]
    for place in places:
        if place.exists():
            return place
    try:
        return Path(snapshot_download(source, allow_patterns=list(patterns) or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        looked = ", ".join(map(str, places))
        raise FileNotFoundError(
            f"no weights of {source}: neither {looked} nor the hub has them ({type(error).__name__});"
            f" penstock models pull fetches them"
        ) from error
