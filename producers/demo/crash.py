"""Scene: a worker is killed in the middle of its work, and nobody waits in vain."""

import signal
import time
from collections import Counter
from collections.abc import Sequence

from producers.demo.narration import Narrator, expect
from producers.demo.stage import LEASE_S, MODEL, Stage
from producers.texts import mixed_texts
from producers.worker_process import Announced, WorkerProcess
from rpc.calls import fetch
from rpc.inspection import peek
from rpc.messages import Success

JOBS = 48

ROUNDS = 5
"""How often so many jobs are sent at most until the first worker has some of them: one is enough but for chance."""

ANSWERED_S = 30.0


def play(stage: Stage, narrator: Narrator, first: WorkerProcess, announced: Announced) -> WorkerProcess:
    """Kill the first worker while it holds jobs; return the second, which answers all of them."""
    narrator.step(
        "Nothing is lost",
        f"A second worker joins, {JOBS} jobs are sent, and the first worker gets a SIGKILL in mid-batch.",
    )
    second = stage.start_worker()
    with narrator.waiting("the second worker loads its model"):
        survivor = stage.ready(second)
    jobs = _frozen_in_mid_batch(stage, first, announced)
    held, answered = _fared(stage, announced, jobs)
    status = first.kill()
    killed = time.monotonic()
    expect(holds=status == -signal.SIGKILL, otherwise=f"the first worker ended with {status}, not by SIGKILL")
    narrator.show(
        f"worker {first.pid} killed with {held} jobs in its hands, {answered} answered before", style="yellow"
    )
    with narrator.counting("waiting for every answer", len(jobs)) as counter:
        for job_id in jobs:
            stage.client.result(MODEL, job_id, timeout_s=ANSWERED_S)
            counter.one_done()
    _tell(stage, narrator, jobs, survivor, took_s=time.monotonic() - killed)
    return second


def _frozen_in_mid_batch(stage: Stage, first: WorkerProcess, announced: Announced) -> list[str]:
    """Send jobs until the first worker has answered some and holds others; freeze it there, return all their ids."""
    sent: list[str] = []
    end = time.monotonic() + ANSWERED_S
    for _ in range(ROUNDS):
        texts = mixed_texts(JOBS, shortest=80)
        sent += [stage.client.submit(MODEL, "embed_text", [text]) for text in texts]
        while time.monotonic() < end and stage.client.ask(peek(stage.settings.prefix, MODEL, "interactive", 1)):
            if all(_fared(stage, announced, sent)):
                first.freeze()
                # what it had under way when we looked may have been its last
                if all(_fared(stage, announced, sent)):
                    return sent
                first.thaw()
    expect(holds=False, otherwise="the first worker should have been caught with some of the jobs")
    return sent


def _fared(stage: Stage, worker: Announced, jobs: Sequence[str]) -> tuple[int, int]:
    """Return how many of the jobs a worker holds, and how many it has answered."""
    prefix = stage.settings.prefix
    entries = stage.client.ask(peek(prefix, MODEL, "interactive", len(jobs)))
    replies = stage.client.ask(fetch(prefix, [(MODEL, job_id) for job_id in jobs]))
    answered = [reply for reply in replies.values() if isinstance(reply, Success) and reply.meta.worker == worker.name]
    return sum(entry["held_by"] == worker.name for entry in entries), len(answered)


def _tell(stage: Stage, narrator: Narrator, jobs: Sequence[str], survivor: Announced, *, took_s: float) -> None:
    replies = stage.client.ask(fetch(stage.settings.prefix, [(MODEL, job_id) for job_id in jobs]))
    told = [reply.meta for reply in replies.values() if isinstance(reply, Success)]
    again = sum(meta.attempts > 1 for meta in told)
    by_worker = Counter(meta.worker for meta in told)
    narrator.show(
        f"{len(told)} of {len(jobs)} answered; {again} of them handed out a second time,"
        f" {by_worker[survivor.name]} answered by worker {survivor.name.split(':')[1]}",
        style="green",
    )
    narrator.show(f"the last answer came {took_s:.1f} s after the kill; a lease is {LEASE_S:.0f} s")
    expect(holds=len(told) == len(jobs), otherwise="every job should have been answered")
    expect(holds=again > 0, otherwise="the killed worker's jobs should have been handed out again")
