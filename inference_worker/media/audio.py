"""Recordings from outside, as samples on the clock of a player."""

import io
from typing import Any

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from inference_worker.media import boxes, ebml, flv, id3, kinds, lengths, ogg, riff, tracks
from inference_worker.media.decoding import Decoding, TooMuch
from inference_worker.media.recording import NoSpace, Recording
from rpc.errors import InvalidInput

MAX_LINKS = 100
"""Links of an Ogg chain that are opened."""

MAX_STREAMS = 200
"""Tracks of a container, those of pictures and texts among them. A broadcast of a whole transponder has fewer; each
costs half a megabyte to look at."""


def _decodes_sound(name: str) -> bool:
    try:
        return bool(Codec(name, "r").type == "audio")
    except UnknownCodecError:
        # it only encodes
        return False


OPTIONS = {
    "format_whitelist": kinds.FORMATS,
    # FFmpeg would decode pictures to find out how large they are
    "codec_whitelist": ",".join(sorted(filter(_decodes_sound, av.codecs_available))),
    "max_streams": str(MAX_STREAMS),
}

# its complaints about damaged files go to the caller, not to the worker's log
av.logging.set_level(None)


def decode(given: Any, *, longest_s: float, track: int = 1) -> Recording:
    """Return an audio track of an encoded recording; of a damaged one, the part that can be decoded.

    A sample lies where a player would play it: sound that starts late, and gaps in the timestamps, have silence in
    front of them, at most half an hour of it in a file that is too small for more.

    Args:
        given: the bytes of the file.
        longest_s: seconds that a recording may last.
        track: which audio track, counted from 1.

    Raises:
        InvalidInput: no bytes, a kind that is not opened, without such an audio track, empty, or longer than
            `longest_s` seconds, whatever it says of itself.
        NoSpace: the file system is full where its samples are to lie.
    """
    return _decoded(given, longest_s, track, split=False)[0]


def decode_channels(given: Any, *, longest_s: float, track: int = 1) -> list[Recording]:
    """Return each channel of an audio track as a recording of its own; see `decode`.

    Raises:
        InvalidInput: as `decode`, and where there are more channels than are heard apart.
        NoSpace: as `decode`.
    """
    return _decoded(given, longest_s, track, split=True)


def _decoded(given: Any, longest_s: float, track: int, *, split: bool) -> list[Recording]:
    if not isinstance(given, bytes):
        raise InvalidInput(f"the input is of type {type(given).__name__}, not the bytes of a recording")
    if not given:
        raise InvalidInput("the recording is empty")
    for check in (boxes.check, riff.check, flv.check, id3.check, ebml.check):
        check(given)
    with Decoding(file_bytes=len(given), longest_s=longest_s, split=split) as decoding:
        try:
            declared_s = _read(decoding, given, track)
        except (InvalidInput, NoSpace):
            raise
        except Exception as error:
            raise InvalidInput(kinds.complaint(given, type(error).__name__)) from error
        return decoding.recordings(declared_s, given)


def _read(decoding: Decoding, data: bytes, track: int) -> float | None:
    """Decode a file, link by link if it is a chain; return how long it says it is."""
    links = ogg.links(data, most=MAX_LINKS + 1)
    if len(links) == 1:
        return _read_container(decoding, data, track)
    _read_container(decoding, bytes(links[0]), track)
    decoding.ended_early |= len(links) > MAX_LINKS
    for link in links[1:MAX_LINKS]:
        try:
            _read_container(decoding, bytes(link), track)
        except (TooMuch, NoSpace):
            raise
        except Exception:  # noqa: BLE001 (FFmpeg's errors are of many kinds, and each means a damaged link)
            decoding.ended_early = True
    return None


def _read_container(decoding: Decoding, data: bytes, track: int) -> float | None:
    try:
        opened = av.open(io.BytesIO(data), metadata_errors="ignore", options=OPTIONS)
    except av.error.MemoryError as error:
        raise InvalidInput(
            f"the recording has more than {MAX_STREAMS} tracks, or headers larger than memory"
        ) from error
    with opened as container:
        chosen = tracks.choose(container, track)
        declared_s = lengths.declared_s(container, chosen, data)
        decoding.check_length(declared_s)
        decoding.read(container, chosen)
        return declared_s
