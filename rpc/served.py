"""The workers behind a model, for a caller that gets no reply, or that wants no job to wait for a worker."""

from collections.abc import Sequence
from dataclasses import dataclass

from rpc.calls import Call, Name
from rpc.errors import Unavailable, UnknownModel
from rpc.keys import Keys, check_model, models

MAX_NAMES = 20
"""How many served models an error names."""

READ_S = 1.0
"""How long a caller whose time is up is kept for what its error says of the workers."""


@dataclass(frozen=True, slots=True)
class Service:
    """The workers of one model, and the models that have some.

    Attributes:
        ever: whether a worker has ever announced the model.
        workers: how many live workers it has now.
        served: the models that have live workers, sorted.
    """

    model: str
    ever: bool
    workers: int
    served: tuple[str, ...]


def service(prefix: str, model: str) -> Call[Service]:
    """Return how many workers serve a model, and which models are served."""
    check_model(model)
    known, (seconds, micros) = yield [("SMEMBERS", models(prefix)), ("TIME",)]
    names = sorted({model, *(name.decode() for name in known)})
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    counts = yield [("ZCOUNT", Keys(prefix, name).workers, f"({now_ms}", "+inf") for name in names]
    live = dict(zip(names, counts, strict=True))
    served = tuple(name for name in names if live[name])
    return Service(model, model.encode() in known, live[model], served)


def check_served(service: Service) -> None:
    """Raise `UnknownModel` if no worker has ever served the model, `Unavailable` if none serves it now."""
    if service.workers:
        return
    if not service.ever:
        raise UnknownModel(f"no worker has ever served the model {service.model!r}; {served_text(service.served)}")
    raise Unavailable(f"no worker serves the model {service.model!r} now; {served_text(service.served)}")


def timeout_text(name: Name, service: Service | None) -> str:
    """Return the text of a `Timeout`; without `service`, the server did not say who serves the model."""
    model, job_id = name
    text = f"no reply to job {job_id} of {model} within the timeout; the job goes on"
    if service is None or service.workers:
        return text
    if service.ever:
        return f"{text} once a worker serves {model}, which none does now; {served_text(service.served)}"
    return f"{text} once a worker serves {model}, which none ever did; {served_text(service.served)}"


def served_text(served: Sequence[str]) -> str:
    """Return which models are served now, for an error's text: `MAX_NAMES` of them at most."""
    if not served:
        return "no model is served now"
    more = ", …" if len(served) > MAX_NAMES else ""
    return f"served now: {', '.join(served[:MAX_NAMES])}{more}"
