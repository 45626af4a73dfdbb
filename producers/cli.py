"""The commands of `penstock`: what they take, and which exit status they end with."""

import enum
import io
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from producers import bench, dead, detecting, doctor, embedding, extras, relay, serving, status, transcribing, worker
from producers.place import Place, place_of
from producers.signals import ended_in_order
from rpc import Client, InvalidInput
from rpc.keys import check_lane
from rpc.plans import TRANSCRIBE_TIMEOUT_S, TranscribeOptions
from rpc.requests import DEFAULT_TIMEOUT_S, CallOptions
from rpc.settings import RedisSettings
from rpc.subtitles import Widths

FAILED = 1

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Feed preloaded models from Redis Streams: start workers, call models, look into the queue.",
)
app.add_typer(dead.app, name="dead")


class Task(enum.Enum):
    """What Whisper is to do."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class Form(enum.Enum):
    """How a transcript is written."""

    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="The files.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for each file.")]
Shrink = Annotated[bool, typer.Option(help="Shrink a picture here if the model sees less of it and nothing is lost.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for a worker if nobody serves the model now.")]
LaneName = Annotated[str, typer.Option(help="interactive or bulk.")]
PASSED_THROUGH = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def run() -> int:
    """Run the command line; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # the name of a file need not be text, and has to be printed all the same
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="penstock")
    return 0


@app.callback()
def place(
    context: typer.Context,
    redis_url: Annotated[str | None, typer.Option(help="Where Redis is; REDIS_URL unless given.")] = None,
    prefix: Annotated[str | None, typer.Option(help="First part of every key; PENSTOCK_PREFIX unless given.")] = None,
) -> None:
    """Note what holds for every command."""
    context.obj = Place(redis_url, prefix)


@app.command("worker", context_settings=PASSED_THROUGH, add_help_option=False)
def start_worker(context: typer.Context) -> None:
    """Serve models: this process becomes a worker. `penstock worker --help` tells what it takes."""
    given = place_of(context)
    if given.url:
        os.environ["REDIS_URL"] = given.url
    if given.prefix:
        os.environ["PENSTOCK_PREFIX"] = given.prefix
    worker.become(context.args)


@app.command("gateway")
def start_gateway(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Listen here; PENSTOCK_GATEWAY_HOST, 127.0.0.1 unless given.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="And on this port; PENSTOCK_GATEWAY_PORT, 8001 unless given.")
    ] = None,
) -> None:
    """Serve HTTP: the routes of OpenAI, of the model service, and jobs."""
    missing = extras.complaint("gateway")
    if missing:
        sys.stderr.write(f"penstock: {missing}\n")
        raise typer.Exit(extras.NOT_INSTALLED)
    from producers.gateway import server, settings  # noqa: PLC0415 (they need the extra gateway)

    given = place_of(context)
    redis = RedisSettings.from_env(url=given.url, prefix=given.prefix)
    _end(server.serve(settings.GatewaySettings.from_env(host=host, port=port), redis))


@app.command("relay", context_settings=PASSED_THROUGH, add_help_option=False)
def start_relay(context: typer.Context) -> None:
    """Hand replies of a sink to whoever stores them. `penstock relay --help` tells what it takes."""
    place = place_of(context)
    _end(relay.main(context.args, url=place.url, prefix=place.prefix))


@app.command("embed-text")
def embed_text(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="The texts; - reads lines.")] = None,
    *,
    model: Annotated[str, typer.Option(help="Which model.")] = "siglip",
    file: Annotated[str | None, typer.Option(help="A file of texts, one a line; - is standard input.")] = None,
    lane: LaneName = "interactive",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each 64 texts.")] = DEFAULT_TIMEOUT_S,
    normalize: Annotated[bool, typer.Option(help="Vectors of unit norm, or as the model gives them.")] = True,
    outputs: Annotated[str | None, typer.Option(help="Of bge-m3: any of dense,sparse,colbert.")] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Turn texts into vectors. Exits with 1 if any text failed."""
    call = CallOptions(lane=check_lane(lane), timeout_s=timeout)
    wanted = _texts(texts or [], file)
    with place_of(context).client() as client:
        _check_served(client, model, wait=wait)
        if outputs is None:
            found = embedding.answers(client, model, wanted, normalize=normalize, call=call)
        else:
            named = [name.strip() for name in outputs.split(",")]
            found = embedding.all_outputs(client, model, wanted, named, normalize=normalize, call=call)
        _end(embedding.show_answers(found, len(wanted), f"embedding with {model}", as_json=as_json))


def _check_served(client: Client, model: str, *, wait: bool, can_wait: bool = True) -> None:
    """End with 3 if nobody serves the model, unless a worker is to be waited for; `can_wait` if that is an option."""
    reason = None if wait else serving.unserved(client, model, can_wait=can_wait)
    if reason:
        sys.stderr.write(f"penstock: {reason}\n")
        raise typer.Exit(serving.NOT_SERVED)


def _end(failures: int) -> None:
    """End with 1 if there were failures."""
    if failures:
        raise typer.Exit(FAILED)


@app.command("embed-image")
def embed_image(
    context: typer.Context,
    files: Files,
    *,
    model: Annotated[str, typer.Option(help="Which model.")] = "siglip",
    lane: LaneName = "interactive",
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    normalize: Annotated[bool, typer.Option(help="Vectors of unit norm, or as the model gives them.")] = True,
    shrink: Shrink = True,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Turn pictures into vectors. Exits with 1 if any picture failed."""
    call = CallOptions(lane=check_lane(lane), timeout_s=timeout)
    with ended_in_order(), place_of(context).client() as client:
        _check_served(client, model, wait=wait)
        found = embedding.of_pictures(client, model, files, normalize=normalize, shrink=shrink, call=call)
        _end(embedding.show_answers(found, len(files), f"embedding with {model}", as_json=as_json))


@app.command("transcribe")
def transcribe(
    context: typer.Context,
    files: Files,
    *,
    language: Annotated[
        str | None, typer.Option(help="The language spoken, its code or English name; detected unless given.")
    ] = None,
    task: Annotated[Task, typer.Option(help="What is spoken, or an English translation of it.")] = Task.TRANSCRIBE,
    words: Annotated[bool, typer.Option("--words", help="Times of words, shown with --format json.")] = False,
    vad: Annotated[bool, typer.Option("--vad", help="Leave out what is not speech first.")] = False,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "--initial-prompt", help="Text as if said before: names, spelling, style.")
    ] = None,
    hotwords: Annotated[str | None, typer.Option(help="Words that are likely to be said.")] = None,
    split: Annotated[bool, typer.Option("--split-channels", help="A transcript for each channel.")] = False,
    track: Annotated[int, typer.Option(help="Which audio track of a file, counted from 1.", min=1)] = 1,
    form: Annotated[Form, typer.Option("--format", help="How transcripts are written.")] = Form.TEXT,
    max_line_width: Annotated[int | None, typer.Option(help="Characters of a line of subtitles.", min=1)] = None,
    max_line_count: Annotated[int | None, typer.Option(help="Lines of a cue, with --max-line-width.", min=1)] = None,
    max_words_per_line: Annotated[int | None, typer.Option(help="Words of a cue.", min=1)] = None,
    output: Annotated[Path | None, typer.Option(help="A directory to write a file for each recording into.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    model: Annotated[str, typer.Option(help="Which model.")] = "whisper",
    lane: LaneName = "interactive",
    timeout: Timeout = TRANSCRIBE_TIMEOUT_S,
    wait: Wait = False,
) -> None:
    """Write down what is said in recordings. Exits with 1 if any recording failed."""
    options = TranscribeOptions(
        task=task.value,
        vad=vad,
        prompt=prompt,
        hotwords=hotwords,
        lane=check_lane(lane),
        timeout_s=timeout,
        **({"channels": "split"} if split else {}),
        **({"track": track} if track > 1 else {}),
    )
    widths = _widths(max_line_width, max_line_count, max_words_per_line)
    wanted = transcribing.Wanted(form.value, model, language, words, options, _directory(output), force, widths)
    _refuse(transcribing.refusal(files, wanted))
    with ended_in_order(), place_of(context).client() as client:
        _check_served(client, model, wait=wait)
        _end(transcribing.show_transcripts(client, files, wanted))


def _widths(width: int | None, lines: int | None, words: int | None) -> Widths:
    """Return how much a cue of subtitles may hold; end with 2 on numbers that do not go together."""
    try:
        return Widths(width, lines, words)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from error


def _refuse(reason: str | None) -> None:
    """End with 2 if there is a reason to."""
    if reason:
        raise typer.BadParameter(reason)


def _directory(output: Path | None) -> Path | None:
    """Return a directory that is there."""
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"--output {output}: {error}") from error
    return output


@app.command("detect-faces")
def detect_faces(
    context: typer.Context,
    files: Files,
    *,
    score: Annotated[float, typer.Option(help="Least score of a face.", min=0.0, max=1.0)] = 0.6,
    overlap: Annotated[
        float | None, typer.Option(help="How far two faces may overlap.", min=0.0, max=1.0, show_default="the worker's")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Write the one picture with its faces marked: a .jpg or .png.")
    ] = None,
    lane: LaneName = "interactive",
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Find the faces in pictures. Exits with 1 if any picture failed."""
    drawn = _drawing(files, draw) if draw else None
    call = CallOptions(lane=check_lane(lane), timeout_s=timeout)
    with ended_in_order(), place_of(context).client() as client:
        _check_served(client, detecting.MODEL, wait=wait)
        _end(detecting.show_faces(client, files, thresholds=(score, overlap), call=call, as_json=as_json, draw=drawn))


def _drawing(files: list[Path], into: Path) -> detecting.Draw:
    """Return what draws into a file; end with 2 if it could not be written, or Pillow is missing."""
    _refuse(detecting.refusal(files, into))
    missing = extras.complaint("images")
    if missing:
        sys.stderr.write(f"penstock detect-faces --draw: {missing}\n")
        raise typer.Exit(extras.NOT_INSTALLED)
    from producers import drawing  # noqa: PLC0415 (Pillow comes with an extra)

    return partial(drawing.draw, into=into)


@app.command("models", context_settings=PASSED_THROUGH, add_help_option=False)
def models(context: typer.Context) -> None:
    """List the models the project brings, or fetch their weights: `penstock models list`, `penstock models pull`."""
    worker.become(["models", *context.args])


def _texts(texts: list[str], file: str | None) -> list[str]:
    if texts == [embedding.STANDARD_INPUT]:
        texts, file = [], embedding.STANDARD_INPUT
    if bool(texts) == (file is not None):
        raise typer.BadParameter("give texts, or --file, or - to read lines from standard input")
    if file is None:
        return texts
    try:
        return embedding.lines_of(file)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--file {file}: {error}") from error


@app.command("status")
def show_status(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL...", help="All, unless some are named.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what waits, what runs, and who serves."""
    status.show_status(place_of(context).settings(), models or (), as_json=as_json)


@app.command("doctor")
def examine(context: typer.Context, *, as_json: Json = False) -> None:
    """Examine the server and what lies there. Exits with 1 if jobs or replies are not safe, or not looked after."""
    if not doctor.show(place_of(context).settings(), as_json=as_json):
        raise typer.Exit(FAILED)


@app.command("peek")
def peek(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    lane: LaneName = "interactive",
    count: Annotated[int, typer.Option(help="The most jobs to show.", min=1)] = 10,
    as_json: Json = False,
) -> None:
    """Show the first jobs of a lane without touching them."""
    status.show_jobs(place_of(context).settings(), model, check_lane(lane), count, as_json=as_json)


@app.command("bench")
def run_bench(
    context: typer.Context,
    *,
    model: Annotated[str, typer.Option(help="echo, or any model that embeds texts.")] = "echo",
    in_flight: Annotated[str, typer.Option(help="How many calls at a time, each level for itself.")] = "1,16,64,256",
    seconds: Annotated[float, typer.Option(help="How long each level lasts.", min=0.05)] = 3.0,
    as_json: Json = False,
) -> None:
    """Measure throughput and latency against running workers."""
    levels = _levels(in_flight)
    with place_of(context).client() as client:
        _check_served(client, model, wait=False, can_wait=False)
    bench.show(place_of(context).settings(), model, levels, seconds, as_json=as_json)


def _levels(text: str) -> list[int]:
    levels = [int(part) for part in text.split(",") if part.strip().isdigit()]
    if not levels or len(levels) != len(text.split(",")) or min(levels) < 1:
        raise typer.BadParameter(f"--in-flight {text!r} is no list of numbers above 0, such as 1,16,64")
    return levels


@app.command("demo")
def demo() -> None:
    """See it work: an embedded server, a real model, and a worker that is killed. Leaves nothing behind."""
    missing = extras.complaint("demo")
    if missing:
        sys.stderr.write(f"penstock demo: {missing}\n")
        raise typer.Exit(extras.NOT_INSTALLED)
    from producers.demo import show  # noqa: PLC0415 (the embedded server comes with an extra)

    raise typer.Exit(show.run())
