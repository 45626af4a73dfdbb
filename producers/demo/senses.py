"""Scene: one worker hears, sees and reads: Whisper, SigLIP, YuNet and BGE-M3 at once."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from producers.demo import samples
from producers.demo.narration import Narrator, expect
from producers.demo.stage import FAMILIES, Stage
from producers.worker_process import WorkerProcess
from rpc import Client, Embeddings, Face, Transcript
from rpc.results import Vector

STAND_IN = "stand-in"

ANSWERED_S = 120.0

NEAR_PX = 0.5


def play(stage: Stage, narrator: Narrator, worker: WorkerProcess) -> None:
    """Send a recording, a picture and sentences to the four families together, and look at what comes back."""
    narrator.step(
        "Four families in one worker",
        "A recording, a picture and sentences in five languages go to Whisper, YuNet, SigLIP and BGE-M3 at once.",
    )
    with narrator.waiting("a worker loads the four families"):
        ready = {model: worker.wait_until_ready(stage.client, model) for model in FAMILIES}
    one = len({told.name for told in ready.values()}) == 1
    expect(holds=one, otherwise="one worker should serve all four families")
    weights = {model: told.weights or "real weights" for model, told in ready.items()}
    narrator.say(f"All four are loaded once, in process {worker.pid}: {', '.join(_told(weights))}.")
    _all_at_once(stage.client, narrator, {model for model, source in weights.items() if source == STAND_IN})
    status = worker.stop()
    expect(holds=status == 0, otherwise=f"a worker asked to stop should end with 0, not {status}:\n{worker.log_end()}")


def _all_at_once(client: Client, narrator: Narrator, sure: Collection[str]) -> None:
    """Call the four; of those in `sure` it is known what they have to find."""
    speech = samples.speech() if "whisper" not in sure else None
    started = time.monotonic()
    with ThreadPoolExecutor(len(FAMILIES)) as callers:
        recording = samples.recording() if speech is None else speech
        heard = callers.submit(client.transcribe, recording, timeout_s=ANSWERED_S)
        faces = callers.submit(client.detect_faces, samples.picture(), timeout_s=ANSWERED_S)
        seen = callers.submit(_seen, client)
        read = callers.submit(_read, client)
    took_s = time.monotonic() - started
    if speech is None:
        _hearing(narrator, heard.result(), sure="whisper" in sure)
    else:
        _understanding(narrator, heard.result())
    _finding(narrator, faces.result(), sure="yunet" in sure)
    _seeing(narrator, seen.result(), sure="siglip" in sure)
    _reading(narrator, read.result(), sure="bge-m3" in sure)
    narrator.show(f"all of it answered within {took_s:.1f} s")


def _told(weights: Mapping[str, str]) -> list[str]:
    return [f"{model} ({source})" for model, source in weights.items()]


def _seen(client: Client) -> tuple[Vector, Vector]:
    """Return the vector of the picture, and those of what it might be called."""
    picture = client.embed_image(samples.picture(), timeout_s=ANSWERED_S)
    return picture, client.embed_texts(samples.COLOURS, timeout_s=ANSWERED_S)


def _read(client: Client) -> Embeddings:
    """Return what BGE-M3 makes of the query and the sentences, the query first."""
    texts = [samples.QUERY, *samples.SENTENCES]
    return client.embed_texts(texts, model="bge-m3", outputs=("dense", "sparse"), timeout_s=ANSWERED_S)


def _hearing(narrator: Narrator, heard: Transcript, *, sure: bool) -> None:
    narrator.say(f"whisper, {heard.duration:.0f} s of tones:", style="bold")
    narrator.show(f"“{heard.text.strip()}”", style="green")
    right = heard.text.split() == list(samples.SPOKEN)
    expect(holds=right or not sure, otherwise=f"the recording says {samples.SPOKEN}, and was heard as {heard.text!r}")


def _understanding(narrator: Narrator, transcript: Transcript) -> None:
    narrator.say(f"whisper, {transcript.duration:.0f} s of synthetic speech:", style="bold")
    narrator.show(f"“{transcript.text.strip()}”", style="green")
    expected = {word.strip(".,").lower() for word in samples.SPEECH.split()}
    heard = {word.strip(".,").lower() for word in transcript.text.split()}
    missed = sorted(expected - heard)
    expect(
        holds=len(missed) <= len(expected) // 2,
        otherwise=f"the recording says {samples.SPEECH!r}, and was heard as {transcript.text!r}",
    )


def _finding(narrator: Narrator, faces: list[Face], *, sure: bool) -> None:
    narrator.say("yunet, bright squares on a dark ground:", style="bold")
    for face in faces:
        x, y, width, height = face.bbox
        narrator.show(f"{width:.0f} x {height:.0f} pixels at {x:.0f}, {y:.0f}", style="green")
    if not faces:
        narrator.show("no face")
    found = sorted(face.bbox[:3] for face in faces)
    right = len(found) == len(samples.SQUARES) and np.allclose(found, sorted(samples.SQUARES), atol=NEAR_PX)
    expect(holds=right or not sure, otherwise=f"the squares are at {samples.SQUARES}, and were found at {found}")


def _seeing(narrator: Narrator, seen: tuple[Vector, Vector], *, sure: bool) -> None:
    picture, names = seen
    narrator.say("siglip, the same picture against three texts:", style="bold")
    scores = names @ picture
    best = int(np.argmax(scores))
    for index, name in enumerate(samples.COLOURS):
        narrator.show(f"{scores[index]:5.2f}  {name}", style="green" if index == best else "")
    expect(holds=bool(np.isfinite(scores).all()), otherwise="pictures and texts should have finite vectors")
    expect(holds=best == 0 or not sure, otherwise=f"the picture is nearest to {samples.COLOURS[best]!r}")


def _reading(narrator: Narrator, read: Embeddings, *, sure: bool) -> None:
    if read.dense is None or read.sparse is None:
        raise AssertionError("unreachable")
    narrator.say(f"bge-m3, “{samples.QUERY}” against other languages:", style="bold")
    scores = read.dense[1:] @ read.dense[0]
    order = np.argsort(-scores)
    nearest = {int(index) for index in order[: len(samples.MEANT_THE_SAME)]}
    for index in order:
        narrator.show(f"{scores[index]:5.2f}  {samples.SENTENCES[index]}", style="green" if index in nearest else "")
    right = nearest == samples.MEANT_THE_SAME
    expect(holds=right or not sure, otherwise="sentences that mean the same should be the nearest")
    expect(holds=all(read.sparse), otherwise="each sentence should have words of weight")
