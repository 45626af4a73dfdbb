"""The asyncio client: the calls by name, each a plan carried out by `rpc.aio_caller`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Unpack, overload

from rpc import plans
from rpc.aio_caller import AsyncCaller
from rpc.errors import Unavailable
from rpc.inputs import has_pillow
from rpc.inspection import model_state
from rpc.plans import EmbedOptions, ListOptions, TranscribeOptions
from rpc.relay import relay_awaited
from rpc.requests import CallOptions, OnError
from rpc.results import Embeddings, Face, Transcript, Vector
from rpc.settings import RedisSettings
from rpc.sights import Sights
from rpc.sinks import DEFAULT_LEASE_S, Completion


class AsyncClient(AsyncCaller):
    """Calls models over Redis from one event loop; the same names as `Client`, awaited.

    Holds two connections however many calls are waiting; submits made in one tick of the loop travel together.
    """

    def __init__(self, url: str | None = None, *, settings: RedisSettings | None = None) -> None:
        super().__init__(url, settings=settings)
        self._sights = Sights()

    async def consume(
        self,
        sink: str,
        handler: Callable[[Completion], Awaitable[object]],
        *,
        models: Sequence[str] | None = None,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        """Hand the replies that were sent on to a sink to `handler`, at least once each, until it is cancelled.

        Those of all models unless some are named. One that `handler` raises on comes again after `lease_s`. It has a
        connection of its own.
        """
        await relay_awaited(self._settings, sink, handler, models=models, lease_s=lease_s)

    async def call(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> Mapping[str, Any]:
        """Queue a job, wait, and return its result; raise its error."""
        return await self.carry_out(plans.any_op(self.asked(model, op, options), inputs, call))

    @overload
    async def embed_text(self, text: str, *, outputs: None = None, **rest: Unpack[EmbedOptions]) -> Vector: ...

    @overload
    async def embed_text(self, text: str, *, outputs: Sequence[str], **rest: Unpack[EmbedOptions]) -> Embeddings: ...

    async def embed_text(
        self,
        text: str,
        *,
        model: str = "siglip",
        normalize: bool = True,
        outputs: Sequence[str] | None = None,
        dimensions: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        **call: Unpack[CallOptions],
    ) -> Vector | Embeddings:
        """Return the vector of a text, float32 (d,), of unit norm unless `normalize` is off.

        With `outputs` ("dense", "sparse", "colbert"; bge-m3 has them), the embeddings of one text. With `dimensions`,
        the first so many numbers of the vector, scaled to unit norm again unless `normalize` is off. A model with
        prompts puts `prompt`, or its own one that `prompt_name` names, in front of the text; others refuse both.
        """
        options = plans.text_options(outputs, normalize=normalize, prompt=prompt, prompt_name=prompt_name)
        asked = self.asked(model, "embed_text", options)
        return await self.carry_out(plans.embed_text(asked, text, call, dimensions))

    @overload
    async def embed_texts(
        self, texts: Sequence[str], *, outputs: None = None, **rest: Unpack[ListOptions]
    ) -> Vector: ...

    @overload
    async def embed_texts(
        self, texts: Sequence[str], *, outputs: Sequence[str], **rest: Unpack[ListOptions]
    ) -> Embeddings: ...

    async def embed_texts(
        self,
        texts: Sequence[str],
        *,
        model: str = "siglip",
        normalize: bool = True,
        outputs: Sequence[str] | None = None,
        on_error: OnError = "raise",
        dimensions: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        **call: Unpack[CallOptions],
    ) -> Vector | Embeddings:
        """Return the vectors of texts, float32 (n, d), in their order; with `outputs`, their embeddings.

        If some texts failed, raises `PartialFailure`, or with `on_error="nan"` leaves NaN rows.
        """
        options = plans.text_options(outputs, normalize=normalize, prompt=prompt, prompt_name=prompt_name)
        asked = self.asked(model, "embed_text", options)
        return await self.carry_out(plans.embed_texts(asked, texts, call, on_error=on_error, dimensions=dimensions))

    async def embed_image(
        self,
        image: Any,
        *,
        model: str = "siglip",
        normalize: bool = True,
        shrink: bool = True,
        dimensions: int | None = None,
        **call: Unpack[CallOptions],
    ) -> Vector:
        """Return the vector of a picture, float32 (d,), of unit norm unless `normalize` is off.

        `image` is bytes of a file, a path, a PIL image, pixels: uint8 (h, w, 3), RGB, or a `Reference`, which the
        worker opens. A picture larger than the model sees is shrunk here if that loses nothing, unless `shrink` is
        off. A file that cannot be read is an `OSError`.
        """
        asked = self.asked(model, "embed_image", {"normalize": normalize})
        sees = await self._sees(model, asked=shrink)
        planned = partial(plans.embed_image, asked, image, call, sees=sees, dimensions=dimensions)
        return await self.carry_out(await asyncio.to_thread(planned))

    async def embed_images(
        self,
        images: Sequence[Any],
        *,
        model: str = "siglip",
        normalize: bool = True,
        shrink: bool = True,
        on_error: OnError = "raise",
        dimensions: int | None = None,
        **call: Unpack[CallOptions],
    ) -> Vector:
        """Return the vectors of pictures, float32 (n, d), in their order; see `embed_image` and `embed_texts`."""
        asked = self.asked(model, "embed_image", {"normalize": normalize})
        sees = await self._sees(model, asked=shrink)
        planned = partial(plans.embed_images, asked, images, call, sees=sees, on_error=on_error, dimensions=dimensions)
        return await self.carry_out(await asyncio.to_thread(planned))

    async def detect_faces(
        self,
        image: Any,
        *,
        model: str = "yunet",
        score_threshold: float | None = 0.6,
        nms_threshold: float | None = None,
        max_side: int | None = None,
        shrink: bool = True,
        **call: Unpack[CallOptions],
    ) -> list[Face]:
        """Return the faces in a picture, the surest first, in pixels of the upright picture as it was given.

        `score_threshold` is the lowest confidence of a face, `nms_threshold` how far two may overlap, both 0 to 1;
        `max_side` is the longest side of the picture as it is searched, 32 to 4096: faces of fewer than some 10 pixels
        there are not found. None leaves each to the worker.
        """
        asked = self.asked(model, "detect_faces", plans.face_options(score_threshold, nms_threshold, max_side))
        sees = await self._sees(model, asked=shrink)
        return await self.carry_out(await asyncio.to_thread(plans.detect_faces, asked, image, call, sees=sees))

    async def transcribe(
        self,
        audio: Any,
        language: str | None = None,
        *,
        word_timestamps: bool = False,
        model: str = "whisper",
        **options: Unpack[TranscribeOptions],
    ) -> Transcript:
        """Return what is said in a recording, given as bytes, a path or a `Reference`.

        Waits an hour unless `timeout_s` is given. `language` is a code ("ko"), a tag ("pt-BR") or an English name
        ("korean"); it is detected if it is None or "auto". With `word_timestamps` each word gets its time. The other
        options are those of `TranscribeOptions`. `rpc.subtitles` writes the transcript as SubRip or WebVTT.
        """
        spoken = {"language": language, "word_timestamps": word_timestamps}
        chosen, call = plans.split(spoken, options)
        asked = self.asked(model, "transcribe", chosen)
        return await self.carry_out(await asyncio.to_thread(plans.transcribe, asked, audio, call))

    async def _sees(self, model: str, *, asked: bool) -> str:
        """Return how much of a picture a model sees, as its live workers last told; "" if it is not to be shrunk."""
        if not asked or not has_pillow():
            return ""
        known = self._sights.get(model, now=time.monotonic())
        if known is not None:
            return known
        try:
            state = await self.ask(model_state(self._prefix, model))
        except Unavailable:
            # the call itself is tried again until its time is up
            return ""
        return self._sights.learn(state, now=time.monotonic())
