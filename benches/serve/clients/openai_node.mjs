// npm's openai against a server, in short. `openai_node.mjs URL TOOLS_URL`, from a folder with node_modules/openai.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const found = createRequire(`${process.cwd()}/`).resolve("openai");
const { default: OpenAI, NotFoundError, BadRequestError } = await import(pathToFileURL(found));

const [url, toolsUrl] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const asked = { model, messages: [{ role: "user", content: "Say hello to the river." }], max_tokens: 24, temperature: 0 };
const whole = await client.chat.completions.create(asked);
const text = whole.choices[0].message.content;

async function collect(stream) {
  let text = "", reason = null, usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    reason = chunk.choices[0]?.finish_reason ?? reason;
    usage = chunk.usage ?? usage;
  }
  return { text, reason, usage };
}

const tools = [{
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 8 }, days: { type: "integer", minimum: 1, maximum: 7 } },
      required: ["city", "days"],
      additionalProperties: false,
    },
  },
}];

const checks = {
  "chat: answer, usage, reason": async () => {
    assert.ok(text.length > 0 && ["stop", "length"].includes(whole.choices[0].finish_reason));
    assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  },
  "stream: the same text, usage last": async () => {
    const found = await collect(await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }));
    assert.equal(found.text, text);
    assert.equal(found.usage.completion_tokens, whole.usage.completion_tokens);
    assert.equal((await collect(await client.chat.completions.create({ ...asked, stream: true }))).usage, null);
  },
  "stream: aborted, and the server goes on": async () => {
    const stream = await client.chat.completions.create({ ...asked, max_tokens: 500, min_tokens: 500, stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    await client.chat.completions.create(asked);
  },
  "n and seed": async () => {
    const options = { ...asked, n: 3, seed: 5, temperature: 1 };
    const [one, two] = [await client.chat.completions.create(options), await client.chat.completions.create(options)];
    assert.deepEqual(one.choices.map((choice) => choice.index), [0, 1, 2]);
    assert.deepEqual(one.choices.map((choice) => choice.message), two.choices.map((choice) => choice.message));
  },
  "stop": async () => {
    const stop = text.slice(2, 4);
    const found = await client.chat.completions.create({ ...asked, stop });
    assert.equal(found.choices[0].message.content, text.slice(0, text.indexOf(stop)));
  },
  "logprobs": async () => {
    const found = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 3 });
    for (const token of found.choices[0].logprobs.content) assert.ok(token.logprob <= 0 && token.top_logprobs.length === 3);
  },
  "completions and embeddings": async () => {
    const found = await client.completions.create({ model, prompt: ["a", "b"], max_tokens: 4, echo: true, logprobs: 1 });
    assert.equal(found.choices.length, 2);
    const vectors = (await client.embeddings.create({ model, input: ["a", "b"] })).data;
    assert.ok(vectors.length === 2 && vectors[0].embedding.every(Number.isFinite));
  },
  "json_schema": async () => {
    const schema = { type: "object", properties: { yes: { type: "boolean" } }, required: ["yes"], additionalProperties: false };
    const found = await client.chat.completions.create({ ...asked, max_tokens: 60, response_format: { type: "json_schema", json_schema: { name: "a", schema, strict: true } } });
    assert.equal(typeof JSON.parse(found.choices[0].message.content).yes, "boolean");
  },
  "tools: a call, whole and streamed": async () => {
    const other = new OpenAI({ baseURL: `${toolsUrl}/v1`, apiKey: "none", maxRetries: 0 });
    const options = { ...asked, model: (await other.models.list()).data[0].id, tools, tool_choice: "required", max_tokens: 200 };
    const found = (await other.chat.completions.create(options)).choices[0];
    assert.equal(found.finish_reason, "tool_calls");
    const given = JSON.parse(found.message.tool_calls[0].function.arguments);
    assert.ok(given.days >= 1 && given.days <= 7);
    const streamed = await other.chat.completions.stream(options).finalChatCompletion();
    assert.deepEqual(JSON.parse(streamed.choices[0].message.tool_calls[0].function.arguments), given);
  },
  "errors": async () => {
    await assert.rejects(client.chat.completions.create({ ...asked, model: "nothing" }), (error) => error instanceof NotFoundError && error.code === "model_not_found");
    await assert.rejects(client.chat.completions.create({ ...asked, temperature: 9 }), (error) => error instanceof BadRequestError && error.param === "temperature");
  },
};

let failed = 0;
for (const [name, holds] of Object.entries(checks)) {
  try {
    await holds();
    console.log(`node       ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`node       FAIL  ${name}: ${String(error.stack ?? error).slice(0, 500)}`);
  }
}
console.log(`node       ${Object.keys(checks).length - failed} of ${Object.keys(checks).length}`);
process.exit(failed ? 1 : 0);
