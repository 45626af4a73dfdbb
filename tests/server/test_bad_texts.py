"""A bad text among good ones, through every front door: it fails alone, with its index."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import httpx2
import numpy as np
import pytest

from producers.langchain import PenstockEmbeddings
from rpc import AsyncClient, Client, Embeddings, Encoder, InvalidInput, PartialFailure, RedisSettings
from tests.conftest import ON_VALKEY
from tests.families import DIMENSION, Families, text_vector

pytestmark = [pytest.mark.server, ON_VALKEY]

BAD: Mapping[str, Any] = {
    "first half of an emoji": "a \ud83d",
    "second half": "\ude00",
    "bytes that were not UTF-8": b"caf\xe9".decode("utf-8", "surrogateescape"),
    "nothing": None,
    "a number": 7,
    "empty": "",
    "blank": " \n\t",
}

TEXTS = pytest.mark.parametrize("bad", BAD.values(), ids=BAD)

GOOD = ("one", "four")


def check_rows(rows: Any) -> None:
    """Check that the row in the middle is NaN and the others are those of the good texts."""
    assert np.asarray(rows).shape == (3, DIMENSION)
    assert np.allclose(np.asarray(rows)[[0, 2]], [text_vector(text) for text in GOOD])
    assert np.isnan(np.asarray(rows)[1]).all()


def check_failure(call: Callable[[], object]) -> PartialFailure:
    """Check that a call fails for the text in the middle alone."""
    with pytest.raises(PartialFailure, match=r"^1 of 3 inputs failed, the first at 1: ") as failed:
        call()
    assert list(failed.value.failed) == [1]
    assert isinstance(failed.value.failed[1], InvalidInput)
    return failed.value


@TEXTS
def test_bad_text_fails_alone_in_client_and_encoder(client: Client, played: Families, bad: Any) -> None:
    """With the others' rows, or as a row of NaN."""
    texts = [GOOD[0], bad, GOOD[1]]
    for model in ("siglip", "bge-m3"):
        check_rows(check_failure(partial(client.embed_texts, texts, model=model)).vectors)
        check_rows(client.embed_texts(texts, model=model, on_error="nan"))
    found = client.embed_texts(texts, model="bge-m3", outputs=("dense", "sparse"), on_error="nan")
    encoder, lenient = Encoder("bge-m3", client), Encoder("bge-m3", client, on_error="nan")

    check_rows(found.dense)
    assert (found.sparse is not None and found.sparse[1], list(found.failed)) == ({}, [1])
    check_rows(check_failure(lambda: encoder.encode(texts)).vectors)
    check_rows(lenient.encode(texts))
    assert lenient.encode([bad]).shape == (1, DIMENSION)
    assert "None" not in played.inputs


@TEXTS
async def test_bad_text_fails_alone_in_awaited_client_and_langchain(
    redis_settings: RedisSettings, played: Families, bad: Any
) -> None:
    """As in the blocking one."""
    del played
    texts = [GOOD[0], bad, GOOD[1]]
    strict = PenstockEmbeddings(settings=redis_settings)
    lenient = PenstockEmbeddings(settings=redis_settings, on_error="nan", dimensions=8)
    async with AsyncClient(settings=redis_settings) as client:
        with pytest.raises(PartialFailure) as failed:
            await client.embed_texts(texts, model="bge-m3")
        check_rows(failed.value.vectors)
        check_rows(await client.embed_texts(texts, model="bge-m3", on_error="nan"))
    with pytest.raises(PartialFailure) as chunk:
        await strict.aembed_documents(texts)
    rows = np.array(await lenient.aembed_documents(texts))
    await strict.aclose()
    await lenient.aclose()

    assert list(failed.value.failed) == list(chunk.value.failed) == [1]
    assert (rows.shape, np.isnan(rows).any(axis=1).tolist()) == ((3, 8), [False, True, False])


def test_bad_text_alone_is_invalid(client: Client, played: Families) -> None:
    """A call for one text has no other rows."""
    del played
    for bad in BAD.values():
        with pytest.raises(InvalidInput):
            client.embed_text(bad, model="bge-m3")


def test_list_of_bad_texts_alone_sends_nothing(client: Client, played: Families) -> None:
    """Its rows have no numbers, as nobody said how many there are."""
    with pytest.raises(PartialFailure, match="2 of 2 inputs failed"):
        client.embed_texts(["\ud83d", None], model="bge-m3")  # type: ignore[list-item]

    assert client.embed_texts(["\ud83d"], model="bge-m3", on_error="nan").shape == (1, 0)
    assert played.jobs == []


def test_picture_that_is_none_fails_alone(client: Client, played: Families) -> None:
    """As a text does; a file that cannot be read stays an `OSError`."""
    del played
    pixels = np.full((20, 20, 3), 90, np.uint8)
    images = [pixels, None, pixels.astype(np.float32)]
    with pytest.raises(PartialFailure, match="2 of 3 inputs failed, the first at 1: an image is ") as failed:
        client.embed_images(images)

    rows = client.embed_images(images, on_error="nan", dimensions=4)
    assert list(failed.value.failed) == [1, 2]
    assert (rows.shape, np.isnan(rows[:, 0]).tolist()) == ((3, 4), [False, True, True])
    with pytest.raises(FileNotFoundError):
        client.embed_images([pixels, "no-such-file.png"])


def test_bad_input_of_any_op_is_named(client: Client, played: Families) -> None:
    """A job of any op is sent whole or not at all."""
    del played
    with pytest.raises(InvalidInput, match=r"^input 1 cannot be sent: "):
        client.call("echo", "echo", ["one", "\ud83d"])


@pytest.mark.parametrize("on_error", ["skip", None, "NaN"])
def test_unknown_on_error_is_refused(client: Client, on_error: Any) -> None:
    """It was taken for "nan"."""
    with pytest.raises(InvalidInput, match="on_error must be one of raise, nan, got"):
        client.embed_texts(["one"], on_error=on_error)


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("/v1/embeddings", {"model": "bge-m3"}, "input"),
        ("/v1/embeddings", {"model": "siglip", "encoding_format": "base64"}, "input"),
        ("/v1/jobs", {"model": "echo", "op": "echo"}, "inputs"),
    ],
)
def test_bad_text_is_named_over_http(http: httpx2.Client, path: str, fields: dict[str, Any], name: str) -> None:
    """Routes that answer with all vectors or none say which text is at fault, in `param`."""
    refused = {"first half of an emoji", "second half", "bytes that were not UTF-8"}
    params = {}
    for kind, bad in BAD.items():
        if path == "/v1/jobs" and kind not in refused:
            continue
        body = json.dumps({**fields, name: [*GOOD, bad]}).encode()
        response = http.post(path, content=body, headers={"content-type": "application/json"})
        params[kind] = (response.status_code, response.json()["error"]["code"], response.json()["error"]["param"])

    assert params == dict.fromkeys(params, (422, "invalid_input", f"{name}[2]"))


def test_bad_text_is_named_on_the_route_of_one_text(http: httpx2.Client) -> None:
    """By its field."""
    response = http.post("/embed/text", content=rb'{"text": "a \ud83d"}')

    assert (response.status_code, response.json()["error"]["param"]) == (422, "text")


def test_cut_texts_are_told_over_http(http: httpx2.Client) -> None:
    """In a header, and beside each vector."""
    cut = "x" * (DIMENSION + 1)
    body = {"model": "bge-m3", "input": ["one", cut, cut, "two"]}
    some = http.post("/v1/embeddings", json=body)
    encoded = http.post("/v1/embeddings", json={**body, "encoding_format": "base64"})
    none = http.post("/v1/embeddings", json={"model": "bge-m3", "input": ["one"]})
    one = http.post("/embed/text", json={"model": "bge-m3", "text": cut})
    job = {"model": "bge-m3", "op": "embed_text", "inputs": ["one", cut], "job_id": "cut"}
    waited = http.post("/v1/jobs", json=job, headers={"prefer": "wait"})
    fetched = http.get("/v1/jobs/bge-m3:cut")

    responses = {"some": some, "encoded": encoded, "none": none, "one": one, "waited": waited, "fetched": fetched}
    headers = {name: response.headers.get("x-penstock-truncated") for name, response in responses.items()}
    assert headers == {"some": "1-2", "encoded": "1-2", "none": None, "one": "0", "waited": "1", "fetched": "1"}
    assert [item.get("truncated") for item in some.json()["data"]] == [None, True, True, None]
    assert [item.get("truncated") for item in encoded.json()["data"]] == [None, True, True, None]
    assert one.json()["truncated"] is True
    assert fetched.json()["result"]["truncated"] == [False, True]


def test_dimensions_cut_vectors_in_both_clients(client: Client, played: Families) -> None:
    """Their first numbers, at length 1 unless raw vectors are asked for; other outputs are not cut."""
    del played
    expected = text_vector("one")[:8]
    raw = text_vector("one", normalize=False)[:8]
    embeddings = client.embed_texts(["one"], model="bge-m3", outputs=("dense", "sparse"), dimensions=8)

    assert np.allclose(client.embed_text("one", dimensions=8), expected / np.linalg.norm(expected))
    assert np.allclose(client.embed_texts(["one"], dimensions=8), [expected / np.linalg.norm(expected)])
    assert np.allclose(client.embed_text("one", dimensions=8, normalize=False), raw)
    assert isinstance(embeddings, Embeddings)
    assert embeddings.dense is not None
    assert np.allclose(embeddings.dense, [expected / np.linalg.norm(expected)])
    assert client.embed_image(np.zeros((9, 9, 3), np.uint8), dimensions=8).shape == (8,)
    with pytest.raises(InvalidInput, match=f"dimensions must be between 1 and {DIMENSION}, got 64"):
        client.embed_text("one", dimensions=64)
    with pytest.raises(InvalidInput, match="dimensions needs the output dense"):
        client.embed_texts(["one"], model="bge-m3", outputs=("sparse",), dimensions=8)


async def test_dimensions_cut_vectors_of_the_awaited_client(redis_settings: RedisSettings, played: Families) -> None:
    """As of the blocking one."""
    del played
    async with AsyncClient(settings=redis_settings) as client:
        one = await client.embed_text("one", dimensions=8)
        several = await client.embed_texts(["one", "two"], dimensions=8)
        pictures = [np.zeros((9, 9, 3), np.uint8)]
        shapes = [(await client.embed_image(pictures[0], dimensions=8)).shape]
        shapes.append((await client.embed_images(pictures, dimensions=8)).shape)

    assert np.allclose(one, several[0])
    assert [one.shape, several.shape, *shapes] == [(8,), (2, 8), (8,), (1, 8)]
