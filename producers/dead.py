"""`penstock dead`: the jobs a model's workers gave up on."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from producers.place import place_of
from producers.tables import SECOND_MS, console, duration, print_json, print_lines, print_table, progress
from rpc import Client, InvalidInput
from rpc.codec import to_json
from rpc.inspection import dead_jobs, dead_payload, purge, redrive
from rpc.messages import Dead

app = typer.Typer(no_args_is_help=True, help="Look at, queue again or drop the jobs that were given up on.")

EVERYTHING = 1_000_000
"""More than a dead letter keeps."""

Model = Annotated[str, typer.Argument(help="The model's name.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids as `dead list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_dead(
    context: typer.Context,
    model: Model,
    *,
    count: Annotated[int, typer.Option(help="The most to show.", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """List the dead jobs of a model, the newest first."""
    settings = place_of(context).settings()
    with Client(settings=settings) as client:
        jobs = client.ask(dead_jobs(settings.prefix, model, count=count))
    if as_json:
        print_json([asdict(job) for job in jobs])
        return
    columns = ("dead id", "job id", "op", "lane", "code", "deliveries#", "died", "bytes#", "retry", "reason")
    print_table(f"dead jobs of {model}: {len(jobs)}", columns, _rows(jobs, time.time() * SECOND_MS))


def _rows(jobs: Sequence[Dead], now_ms: float) -> Iterator[Sequence[object]]:
    for job in jobs:
        yield (
            job.dead_id,
            job.job_id,
            job.op,
            job.lane,
            job.code,
            job.deliveries,
            f"{duration(max(0.0, now_ms - job.died_ms))} ago",
            job.payload_bytes,
            "yes" if job.whole and job.job_id else "no",
            job.reason,
        )


@app.command("show")
def show_dead(context: typer.Context, model: Model, dead_id: str, *, as_json: Json = False) -> None:
    """Show one dead job with its payload."""
    settings = place_of(context).settings()
    with Client(settings=settings) as client:
        jobs = client.ask(dead_jobs(settings.prefix, model, dead_id=dead_id))
        if not jobs:
            raise InvalidInput(f"the dead letter of {model} has no {dead_id}")
        payload = client.ask(dead_payload(settings.prefix, model, dead_id))
    shown = {**asdict(jobs[0]), "payload": payload}
    if as_json:
        print_json(shown)
        return
    rows = [(name, value if isinstance(value, str) else to_json(value)) for name, value in shown.items()]
    print_table(f"a dead job of {model}", ("field", "value"), rows)


@app.command("retry")
def retry_dead(context: typer.Context, model: Model, ids: Ids = None, *, everything: All = False) -> None:
    """Queue dead jobs again, with a fresh count of deliveries."""
    _check_choice(ids, everything=everything)
    settings = place_of(context).settings()
    said, complaints = [], []
    with Client(settings=settings) as client, progress() as bar:
        named = ids or [job.dead_id for job in client.ask(dead_jobs(settings.prefix, model, count=EVERYTHING))]
        for dead_id in bar.track(named, description=f"queueing jobs of {model}"):
            try:
                said.append(f"{dead_id} queued again as job {client.ask(redrive(settings.prefix, model, dead_id))}")
            except InvalidInput as error:
                complaints.append(f"penstock: {error.code}: {error}")
    print_lines(said)
    print_lines(complaints, stderr=True)
    if complaints:
        raise typer.Exit(1)


@app.command("purge")
def purge_dead(
    context: typer.Context,
    model: Model,
    ids: Ids = None,
    *,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop dead jobs for good."""
    _check_choice(ids, everything=everything)
    settings = place_of(context).settings()
    what = f"{len(ids)} dead job(s)" if ids else "all dead jobs"
    if not yes:
        typer.confirm(f"Drop {what} of {model} for good?", abort=True, err=True)
    with Client(settings=settings) as client:
        gone = client.ask(purge(settings.prefix, model, ids or ()))
    console().print(f"{gone} dropped")


def _check_choice(ids: Sequence[str] | None, *, everything: bool) -> None:
    if bool(ids) == everything:
        raise typer.BadParameter("name the ids of dead jobs, or give --all")
