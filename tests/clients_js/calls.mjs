// What clients in JavaScript make of the gateway named by the first argument, as one line of JSON.
import { writeFile, mkdtemp, rm } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { OpenAIEmbeddings } from "@langchain/openai";
import { embed, embedMany, experimental_transcribe as transcribe } from "ai";
import OpenAI, { toFile } from "openai";

const baseURL = `${process.argv[2]}/v1`;
const apiKey = "unused";
const texts = ["one", "two"];
const recording = Buffer.from("good day");
const lateMs = 500;

globalThis.AI_SDK_LOG_WARNINGS = false;

async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return error.name === "Error" ? error.constructor.name : error.name;
  }
  return "";
}

async function openai() {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const made = await client.embeddings.create({ model: "bge-m3", input: texts });
  const short = await client.embeddings.create({ model: "bge-m3", input: "one", dimensions: 8 });
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const file = await toFile(recording, "talk.wav");
  const verbose = await client.audio.transcriptions.create({
    file,
    model: "whisper-1",
    response_format: "verbose_json",
    timestamp_granularities: ["word", "segment"],
  });
  const events = [];
  const stream = await client.audio.transcriptions.create({
    file: await toFile(recording, "talk.wav"),
    model: "whisper-1",
    stream: true,
  });
  for await (const event of stream) events.push(event.type);
  const directory = await mkdtemp(join(tmpdir(), "clients-"));
  const path = join(directory, "talk.wav");
  await writeFile(path, recording);
  const read = await client.audio.transcriptions.create({ file: createReadStream(path), model: "whisper-1" });
  await rm(directory, { recursive: true });
  return {
    vectors: made.data.map((item) => item.embedding),
    dimensions: short.data[0].embedding.length,
    models,
    text: read.text,
    words: verbose.words.map((word) => word.word),
    subtitles: await client.audio.transcriptions.create({
      file: await toFile(recording, "talk.wav"),
      model: "whisper-1",
      response_format: "srt",
    }),
    events,
    errors: {
      missing: await errorOf(() => client.embeddings.create({ model: "none", input: texts })),
      bad: await errorOf(() => client.embeddings.create({ model: "bge-m3", input: ["one", "bad"] })),
      half: await errorOf(() => client.embeddings.create({ model: "bge-m3", input: ["one", "\ud83d"] })),
      late: await errorOf(() => client.embeddings.create({ model: "silent", input: "one" }, { timeout: lateMs })),
    },
  };
}

async function vercel(provider, name) {
  const model = (id) => provider.textEmbeddingModel(id);
  const options = { providerOptions: { [name]: { dimensions: 8 } } };
  const made = await embedMany({ model: model("bge-m3"), values: texts, maxRetries: 0 });
  const one = await embed({ model: model("bge-m3"), value: "one", maxRetries: 0, ...options });
  const results = {
    vectors: made.embeddings,
    tokens: made.usage.tokens,
    dimensions: one.embedding.length,
    errors: {
      missing: await errorOf(() => embed({ model: model("none"), value: "one", maxRetries: 0 })),
      bad: await errorOf(() => embedMany({ model: model("bge-m3"), values: ["one", "bad"], maxRetries: 0 })),
      late: await errorOf(() =>
        embed({ model: model("silent"), value: "one", maxRetries: 0, abortSignal: AbortSignal.timeout(lateMs) }),
      ),
    },
  };
  if (provider.transcription) {
    const made = await transcribe({
      model: provider.transcription("whisper-1"),
      audio: recording,
      maxRetries: 0,
      // only with options of its own does it ask for segments and the language
      providerOptions: { openai: { timestampGranularities: ["segment"] } },
    });
    results.text = made.text;
    results.language = made.language ?? null;
    results.seconds = made.durationInSeconds;
    results.segments = made.segments.map((segment) => segment.text.trim());
  }
  return results;
}

async function langchain() {
  const model = (name, more = {}) =>
    new OpenAIEmbeddings({ model: name, apiKey, maxRetries: 0, configuration: { baseURL }, ...more });
  const vectors = await model("bge-m3").embedDocuments(texts);
  return {
    vectors,
    query: JSON.stringify(await model("bge-m3").embedQuery("one")) === JSON.stringify(vectors[0]),
    dimensions: (await model("bge-m3", { dimensions: 8 }).embedQuery("one")).length,
    errors: {
      missing: await errorOf(() => model("none").embedQuery("one")),
      bad: await errorOf(() => model("bge-m3").embedDocuments(["one", "bad"])),
      late: await errorOf(() => model("silent", { timeout: lateMs }).embedQuery("one")),
    },
  };
}

console.log(
  JSON.stringify({
    openai: await openai(),
    vercel: await vercel(createOpenAI({ baseURL, apiKey }), "openai"),
    compatible: await vercel(createOpenAICompatible({ name: "penstock", baseURL, apiKey }), "penstock"),
    langchain: await langchain(),
  }),
);
