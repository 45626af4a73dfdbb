"""Which texts of a request were cut to fit their model, as the response header `x-penstock-truncated`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rpc import requests
from rpc.messages import Job, Reply

HEADER = "x-penstock-truncated"

MAX_RANGES = 100
"""More ranges than this are counted, not written, so that the header stays under 2 KiB."""


def truncated_indexes(jobs: Sequence[Job], replies: Sequence[Reply]) -> list[int]:
    """Return the index in its call of each input that its model cut; a model that does not say so cuts none."""
    results, _ = requests.gathered(jobs, replies)
    flags: list[Any] = []
    for job, result in zip(jobs, results, strict=True):
        flags += result.get("truncated", [False] * len(job.inputs))
    return [index for index, flag in enumerate(flags) if flag is True]


def result_indexes(result: Mapping[str, Any]) -> list[int]:
    """Return the indexes that a result of any op lists under `truncated`; none if it has no such list."""
    flags = result.get("truncated")
    return [index for index, flag in enumerate(flags) if flag is True] if isinstance(flags, list) else []


def headers(indexes: Sequence[int]) -> dict[str, str]:
    """Return the header with these indexes, which rise; no header without any.

    >>> headers([0, 1, 2, 7])
    {'x-penstock-truncated': '0-2, 7'}
    """
    if not indexes:
        return {}
    ranges = list(_ranges(indexes))
    rest = len(ranges) - MAX_RANGES
    shown = ranges[:MAX_RANGES]
    return {HEADER: ", ".join([*shown, f"+{rest} more"] if rest > 0 else shown)}


def _ranges(indexes: Sequence[int]) -> Iterable[str]:
    start = indexes[0]
    for index, following in pairwise([*indexes, indexes[-1] + 2]):
        if following != index + 1:
            yield str(start) if start == index else f"{start}-{index}"
            start = following
