"""OpenAI's package, awaited, against the gateway named by the first argument; what blocks is tested in the process."""

import asyncio
from typing import Any

from openai import AsyncOpenAI

from tests.clients.report import LATE_S, RECORDING, TEXTS, address, awaited_error_of, write


async def calls() -> dict[str, Any]:
    """Return what the calls come to."""
    async with AsyncOpenAI(base_url=address(), api_key="unused", max_retries=0) as client:
        made = await client.embeddings.create(model="bge-m3", input=TEXTS)
        raw = await client.embeddings.with_raw_response.create(model="bge-m3", input=TEXTS, user="somebody")
        stream = await client.audio.transcriptions.create(model="whisper-1", file=RECORDING, stream=True)
        events = [event.type async for event in stream]
        late = client.with_options(timeout=LATE_S).embeddings.create(model="silent", input="one")
        return {
            "vectors": [item.embedding for item in made.data],
            "ignored": raw.headers["x-penstock-ignored"],
            "request id": bool(made._request_id),
            "models": [model.id async for model in client.models.list()],
            "text": (await client.audio.transcriptions.create(model="whisper-1", file=RECORDING)).text,
            "events": events,
            "errors": {
                "missing": await awaited_error_of(client.embeddings.create(model="none", input="one")),
                "bad": await awaited_error_of(client.embeddings.create(model="bge-m3", input=["one", "bad"])),
                "tokens": await awaited_error_of(client.embeddings.create(model="bge-m3", input=[[1, 2]])),
                "late": await awaited_error_of(late),
            },
        }


write(asyncio.run(calls()))
