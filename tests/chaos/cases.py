"""A history sorted by job: all that was ever said about each, in the order it happened. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.cargo import MOODS, Cargo
from tests.chaos.history import Event


@dataclass(slots=True)
class Case:
    """One job.

    Attributes:
        submitted: the event of its first submission.
        waiting: every time a reader began to wait for its reply.
        replies: every reply a caller got.
        unsure: every time a caller was told something that is no reply.
        cancelling: every attempt to cancel it.
        outcomes: what those were told that got through.
        executed: execution -> which of its inputs.
        stored: the reply that was in Redis at the end.
        delivered: the replies that a relay handed over.
        broken: errors a client raised that it must not.
        clock_steps: every step of the servers' clock in the run.
    """

    submitted: Event
    waiting: list[Event] = field(default_factory=list)
    replies: list[Event] = field(default_factory=list)
    unsure: list[Event] = field(default_factory=list)
    cancelling: list[Event] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    executed: dict[str, int] = field(default_factory=dict)
    stored: Event | None = None
    delivered: list[Event] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    clock_steps: list[Event] = field(default_factory=list)

    @property
    def job(self) -> str:
        """Its id."""
        return str(self.submitted["job"])

    @property
    def cargo(self) -> list[Cargo]:
        """Its inputs."""
        given = enumerate(self.submitted["cargo"])
        return [Cargo(self.job, index, MOODS[mood], size, binary) for index, (mood, size, binary) in given]

    @property
    def poison(self) -> bool:
        """Whether it kills who runs it."""
        return any(cargo.mood == "kills" for cargo in self.cargo)

    @property
    def trips(self) -> bool:
        """Whether the model fails over it."""
        return any(cargo.mood == "trips" for cargo in self.cargo)

    @property
    def known(self) -> list[Event]:
        """All replies that are known of: those callers got, those handed over, and the stored one."""
        return [*self.replies, *self.delivered, *([self.stored] if self.stored else [])]

    @property
    def tried_again(self) -> bool:
        """Whether a caller that could not be told whether it was queued sent it once more."""
        return any(event["code"] == "unavailable" and not event["queued"] for event in self.unsure)

    @property
    def extra(self) -> int:
        """How many of its executions were more than one of each input."""
        return len(self.executed) - len(set(self.executed.values()))

    @property
    def took_s(self) -> float | None:
        """From its submission to its first reply."""
        return self.replies[0]["at"] - self.submitted["at"] if self.replies else None

    @property
    def unanswered(self) -> list[Event]:
        """The readers that began to wait and never got a reply."""
        answered = {event.get("reader") for event in self.replies}
        return [event for event in self.waiting if event["reader"] not in answered]

    @property
    def answered_late_s(self) -> float:
        """The longest that a reader waited while another one had the reply already, or a relay."""
        known_at = min((event["at"] for event in (*self.replies, *self.delivered)), default=None)
        if known_at is None:
            return 0.0
        began = {event["reader"]: event["at"] for event in self.waiting}
        waits = [event["at"] - max(known_at, began.get(event.get("reader"), event["at"])) for event in self.replies]
        return max(waits, default=0.0)

    def stepped_s(self, reply: Event) -> float:
        """Return how far the servers' clock stepped forth in all between the submission and a reply."""
        steps = [step for step in self.clock_steps if self.submitted["at"] <= step["at"] <= reply["at"]]
        return sum(max(0.0, float(step["by_s"])) for step in steps)

    def hear(self, event: Event) -> None:
        """Take in what was said about it."""
        lists = {
            "waiting": self.waiting,
            "replied": self.replies,
            "unsure": self.unsure,
            "cancelling": self.cancelling,
            "delivered": self.delivered,
        }
        match event["event"]:
            case "cancelled":
                self.outcomes.append(event["outcome"])
            case "executed":
                self.executed[event["run"]] = event["index"]
            case "stored":
                self.stored = event
            case "broken":
                self.broken.append(event["error"])
            case name if name in lists:
                lists[name].append(event)
            case _:
                pass


def cases(events: Iterable[Event]) -> dict[str, Case]:
    """Return every job of a history; what is said of a job nobody submitted is not."""
    told: dict[str, Case] = {}
    for event in events:
        job = event.get("job")
        if event["event"] == "submitted":
            told.setdefault(str(job), Case(event))
        elif job in told:
            told[job].hear(event)
    return told


def last(events: Iterable[Event], name: str) -> dict[str, Any] | None:
    """Return the last event of a name."""
    return next((event for event in reversed(list(events)) if event["event"] == name), None)
