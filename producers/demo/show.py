"""The demo from beginning to end, and its exit status."""

import time

from producers.demo import crash, crowd, mistakes, search, senses, stream
from producers.demo.narration import DemoFailed, Narrator, expect
from producers.demo.stage import MODEL, Stage
from producers.signals import ended_in_order


def run() -> int:
    """Play every scene; return 0, or 1 if something was not as promised. Leaves nothing behind either way."""
    narrator = Narrator()
    try:
        with ended_in_order(), Stage() as stage:
            _play(stage, narrator)
    except DemoFailed as failure:
        narrator.say(f"The demo failed: {failure}.", style="bold red")
        return 1
    narrator.say("Next: docs/quickstart.md, or with a Redis of yours, penstock worker --models minilm", style="bold")
    return 0


def _play(stage: Stage, narrator: Narrator) -> None:
    narrator.say("Penstock: preloaded models, fed from Redis Streams.", style="bold")
    narrator.say(f"A Valkey server of our own listens at {stage.settings.address}.")
    started = time.monotonic()
    first = stage.start_worker()
    with narrator.waiting(f"a worker process loads {MODEL} (all-MiniLM-L6-v2, real weights)"):
        announced = stage.ready(first)
    narrator.say(f"Worker {first.pid} is ready after {time.monotonic() - started:.1f} s.")
    search.play(stage, narrator)
    crowd.play(stage, narrator, first, announced)
    senses.play(stage, narrator, stage.start_families())
    mistakes.play(stage, narrator)
    second = crash.play(stage, narrator, first, announced)
    stream.play(stage, narrator)
    narrator.say("")
    with narrator.waiting("the worker finishes and stops"):
        status = second.stop()
    expect(holds=status == 0, otherwise=f"a worker asked to stop should end with 0, not {status}:\n{second.log_end()}")
    narrator.say("The worker ended with 0 after SIGTERM; the server and its files go now.")
