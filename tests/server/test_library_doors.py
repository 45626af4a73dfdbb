"""Code written for sentence-transformers or LangChain, over the queue."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from redis import Redis

from producers.langchain import PenstockEmbeddings
from rpc import Client, Encoder, InvalidInput, PartialFailure, RedisSettings, UnknownModel
from rpc.messages import Job
from tests.answering import Answering, show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import DIMENSION, Families, text_vector
from tests.waiting import eventually

pytestmark = [pytest.mark.server, ON_VALKEY]


@pytest.fixture
def encoder(client: Client, played: Families) -> Iterator[Encoder]:
    """Yield an encoder of the played SigLIP, which has raw vectors too."""
    del played
    with Encoder("siglip", client) as encoder:
        yield encoder


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_texts_are_encoded_as_a_matrix_and_one_as_a_vector(encoder: Encoder, method: str) -> None:
    """Float32, of unit norm, rows in the order of the texts."""
    encode = getattr(encoder, method)
    several, one = encode(["a cat", "a dog"], batch_size=8, show_progress_bar=False), encode("a cat")

    assert (several.dtype, several.shape, one.shape) == (np.float32, (2, DIMENSION), (DIMENSION,))
    assert np.allclose(several, [text_vector("a cat"), text_vector("a dog")])
    assert np.allclose(one, text_vector("a cat"))


def test_texts_may_come_as_sentence_transformers_takes_them(encoder: Encoder) -> None:
    """An array or any other sequence of texts, and the batch size in its place."""
    expected = [text_vector("a cat"), text_vector("a dog")]

    assert np.allclose(encoder.encode(np.array(["a cat", "a dog"]), None, None, 8), expected)
    assert np.allclose(encoder.encode(("a cat", "a dog")), expected)


def test_raw_vectors_are_there_for_those_who_ask(encoder: Encoder) -> None:
    """`normalize_embeddings` is off by default there and on here."""
    raw = encoder.encode("a cat", normalize_embeddings=False)

    assert np.allclose(raw, text_vector("a cat", normalize=False))


def test_a_prompt_stands_in_front_of_each_text(encoder: Encoder) -> None:
    """As sentence-transformers puts it there."""
    assert np.allclose(encoder.encode_query("cat", prompt="query: "), text_vector("query: cat"))


def test_no_texts_are_no_rows(encoder: Encoder, client: Client) -> None:
    """Of the right width, which a live worker tells."""
    with pytest.raises(UnknownModel, match="no live worker tells the dimension of nobody"):
        Encoder("nobody", client).encode([])
    assert (encoder.encode([]).shape, encoder.get_sentence_embedding_dimension()) == ((0, DIMENSION), DIMENSION)


@pytest.fixture
def prompted(client: Client, make_consumer: MakeConsumer) -> Iterator[tuple[Encoder, list[Mapping[str, Any]]]]:
    """Yield an encoder of a model with prompts of its own, and the options of each job it gets."""
    consumer = make_consumer(model="prompted")
    consumer.announce(
        {"ops": "embed_text", "dimension": "2", "prompts": "query,document,sts", "similarity": "dot", "started": "0"}
    )
    show_life(consumer)
    options: list[Mapping[str, Any]] = []

    def answer(job: Job, inputs: list[Any]) -> Mapping[str, Any]:
        options.append({**job.options, "inputs": inputs})
        return {"vectors": np.ones((len(inputs), 2), np.float32), "failed": []}

    with Answering(consumer, answer):
        yield Encoder("prompted", client), options


@pytest.mark.parametrize(
    ("method", "given", "sent"),
    [
        ("encode", {}, {}),
        ("encode", {"prompt_name": "sts"}, {"prompt_name": "sts"}),
        ("encode", {"prompt": "task: "}, {"prompt": "task: "}),
        ("encode", {"prompt": ""}, {"prompt": ""}),
        ("encode_query", {}, {"prompt_name": "query"}),
        ("encode_query", {"prompt": "task: "}, {"prompt": "task: "}),
        ("encode_document", {}, {"prompt_name": "document"}),
        ("encode_document", {"prompt_name": "sts"}, {"prompt_name": "sts"}),
    ],
)
def test_prompts_of_the_model_are_used(
    prompted: tuple[Encoder, list[Mapping[str, Any]]], method: str, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    """By the model, which has them; as sentence-transformers chooses them."""
    encoder, options = prompted
    getattr(encoder, method)("a cat", **given)

    assert options == [{"normalize": True, "inputs": ["a cat"], **sent}]


def test_langchain_names_the_prompts_of_queries_and_documents(
    redis_settings: RedisSettings, prompted: tuple[Encoder, list[Mapping[str, Any]]]
) -> None:
    """Where it is told which; else the model's default one counts."""
    _, options = prompted
    for embeddings in (
        PenstockEmbeddings(
            "prompted", settings=redis_settings, query_prompt_name="query", document_prompt_name="document"
        ),
        PenstockEmbeddings("prompted", settings=redis_settings),
    ):
        embeddings.embed_query("a")
        embeddings.embed_documents(["b"])
        embeddings.close()

    assert [job.get("prompt_name") for job in options] == ["query", "document", None, None]


def test_prompt_that_the_model_lacks_is_refused(prompted: tuple[Encoder, list[Mapping[str, Any]]]) -> None:
    """By its names; a model nobody serves says nothing of its prompts."""
    encoder, options = prompted
    with pytest.raises(InvalidInput, match="must be one of query, document, sts for prompted, got 'clustering'"):
        encoder.encode("a cat", prompt_name="clustering")
    with pytest.raises(InvalidInput, match="exclude each other"):
        encoder.encode("a cat", prompt_name="sts", prompt="x")
    with pytest.raises(UnknownModel, match="no live worker says which prompts nobody has"):
        Encoder("nobody", encoder._client).encode_query("a cat")

    assert options == []


def test_similarity_is_the_one_the_model_was_made_for(prompted: tuple[Encoder, list[Mapping[str, Any]]]) -> None:
    """As its worker tells, unless it is set."""
    encoder, _ = prompted
    publishers = encoder.similarity_fn_name
    encoder.similarity_fn_name = "manhattan"

    assert (publishers, encoder.similarity_fn_name) == ("dot", "manhattan")
    assert encoder.similarity([1.0, 2.0], [0.0, 0.0]).tolist() == [[-3.0]]
    with pytest.raises(InvalidInput, match="similarity_fn_name"):
        encoder.similarity_fn_name = "other"  # type: ignore[assignment]


def test_model_without_prompts_has_empty_ones(encoder: Encoder) -> None:
    """For queries and documents, as sentence-transformers gives every model."""
    expected = text_vector("a cat")

    assert np.allclose(encoder.encode("a cat", prompt_name="query"), expected)
    assert np.allclose(encoder.encode_document("a cat"), expected)


def test_similarity_is_measured_as_sentence_transformers_does(encoder: Encoder, client: Client) -> None:
    """Cosine unless told otherwise, of each with each, or pair by pair."""
    vectors = encoder.encode(["a cat", "a dog"])
    distances = Encoder("siglip", client, similarity_fn_name="euclidean").similarity(vectors, vectors)

    assert np.allclose(encoder.similarity(vectors, vectors), vectors @ vectors.T, atol=1e-6)
    assert np.allclose(encoder.similarity_pairwise(vectors, vectors), [1.0, 1.0])
    assert (encoder.similarity_fn_name, distances[0, 0], distances[0, 1] < 0) == ("cosine", 0.0, True)


def test_vectors_are_truncated_by_the_encoder_or_the_call(encoder: Encoder, client: Client) -> None:
    """`truncate_dim` of the call wins; the dimension is that of `encode`."""
    small = Encoder("siglip", client, truncate_dim=8)
    expected = text_vector("a cat")[:8] / np.linalg.norm(text_vector("a cat")[:8])

    assert np.allclose(small.encode("a cat"), expected)
    assert np.allclose(encoder.encode(["a cat"], truncate_dim=8), [expected])
    assert small.encode("a cat", truncate_dim=4).shape == (4,)
    assert small.encode([]).shape == (0, 8)
    assert (small.get_embedding_dimension(), small.get_sentence_embedding_dimension()) == (8, 8)
    assert Encoder("siglip", client, truncate_dim=999).get_embedding_dimension() == DIMENSION


def test_inputs_are_named_as_either_version_names_them(encoder: Encoder) -> None:
    """`sentences` until version 5 of sentence-transformers, `inputs` since 6."""
    assert np.allclose(encoder.encode(inputs=["a cat"]), encoder.encode(sentences=["a cat"]))
    assert np.allclose(encoder.encode_query(inputs="a cat", task=None), text_vector("a cat"))


@pytest.mark.parametrize("wrong", [None, 7, b"bytes"])
def test_what_is_no_text_and_no_list_is_refused(encoder: Encoder, wrong: Any) -> None:
    """By its type."""
    with pytest.raises(InvalidInput, match="sentences must be a str or a list of str, got a"):
        encoder.encode(wrong)


@pytest.mark.parametrize(
    "option",
    [
        {"convert_to_tensor": True},
        {"precision": "int8"},
        {"output_value": None},
        {"prompt_name": "passage"},
        {"task": "sts"},
    ],
)
def test_what_would_change_the_numbers_is_refused(encoder: Encoder, option: dict[str, Any]) -> None:
    """By name; what is not known at all is a `TypeError`."""
    with pytest.raises(InvalidInput, match=next(iter(option))):
        encoder.encode("a cat", **option)
    with pytest.raises(TypeError, match="normalise"):
        encoder.encode("a cat", normalise=True)


def test_a_text_that_fails_is_told(encoder: Encoder) -> None:
    """With the rows of the others."""
    with pytest.raises(PartialFailure) as failed:
        encoder.encode(["a cat", "bad"])

    assert np.allclose(failed.value.vectors[0], text_vector("a cat"))


def test_langchain_stores_and_finds_texts(redis_settings: RedisSettings, played: Families) -> None:
    """Through its own vector store, blocking and awaited, from one loop after another."""
    del played
    embeddings = PenstockEmbeddings(settings=redis_settings)

    async def search() -> list[str]:
        store = InMemoryVectorStore(embeddings)
        await store.aadd_texts(["a cat", "a dog"])
        found = [document.page_content for document in await store.asimilarity_search("a dog", k=1)]
        await embeddings.aclose()
        return found

    store = InMemoryVectorStore(embeddings)
    store.add_texts(["a cat", "a dog"])

    assert isinstance(embeddings, Embeddings)
    assert [document.page_content for document in store.similarity_search("a cat", k=1)] == ["a cat"]
    assert [asyncio.run(search()) for _ in range(2)] == [["a dog"]] * 2
    assert embeddings.embed_documents([]) == []


def test_langchain_on_two_loops_is_closed_on_both(redis_settings: RedisSettings, played: Families, raw: Redis) -> None:
    """`aclose` on one loop closes the connections of the other too."""
    del played
    others = len(raw.client_list())
    embeddings = PenstockEmbeddings(settings=redis_settings)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        for runner in (first, second, first):
            assert np.allclose(runner.run(embeddings.aembed_query("a cat")), text_vector("a cat"))
        first.run(embeddings.aclose())
        # the other loop closes its connections when it runs next
        second.run(asyncio.sleep(0))
        eventually(lambda: len(raw.client_list()) <= others)
