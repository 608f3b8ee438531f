#!/usr/bin/env python3
"""PyPI's openai against a server: what it sends is understood, and what it is sent it understands.

    openai_python.py URL TOOLS_URL FULL_URL

URL serves a base (first) and an adapter; TOOLS_URL a model of ChatGLM3 or GLM-4; FULL_URL one with --max_running 1 and
--max_waiting 1, on which more answers are asked for than it takes."""

import asyncio
import base64
import json
import struct
import sys

import openai
from checks import check, run

HELLO = [{"role": "user", "content": "Say hello to the river."}]
# Models here are small and say what they like: nothing is checked of what they mean.
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["part", "fault", "state"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 20},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2},
        "sure": {"type": "boolean"},
    },
    "required": ["kind", "count", "tags", "sure"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}},
]


def client(url, **options):
    return openai.OpenAI(base_url=url, api_key="none", **({"max_retries": 0} | options))


def first(c):
    return c.models.list().data[0].id


def chat(c, **options):
    options = {"model": first(c), "messages": HELLO, "max_tokens": 24, "temperature": 0} | options
    return c.chat.completions.create(**options)


def refused(kind, text, ask):
    """What is asked for is refused with an error of this kind, which says so."""
    try:
        ask()
    except kind as error:
        assert text in str(error), f"{text!r} is not in {error}"
        body = error.body
        assert set(body) >= {"message", "type", "param", "code"}, body
        return error
    raise AssertionError("nothing was refused")


@check
def models(url, *_):
    """models: list and retrieve"""
    c = client(url)
    names = [model.id for model in c.models.list()]
    assert len(names) >= 2, names
    assert c.models.retrieve(names[1]).id == names[1]
    refused(openai.NotFoundError, names[1], lambda: c.models.retrieve("nothing"))
    return ", ".join(names)


@check
def chat_whole(url, *_):
    """chat: answer, usage, reason; the same again"""
    c = client(url)
    answer, again = chat(c), chat(c)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens <= 24
    assert again.choices[0].message.content == choice.message.content
    assert again.usage.prompt_tokens_details.cached_tokens > 0


@check
def chat_of_adapter(url, *_):
    """chat: an adapter by its name"""
    c = client(url)
    name = c.models.list().data[1].id
    assert chat(c, model=name).model == name


@check
def chat_stream(url, *_):
    """stream: the same text as whole, a reason, usage last"""
    c = client(url)
    whole = chat(c)
    chunks = list(chat(c, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content, (text, whole)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == whole.choices[0].finish_reason and not any(reasons[:-1])
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])
    without = list(chat(c, stream=True))
    assert all(chunk.choices for chunk in without) and all(chunk.usage is None for chunk in without)


@check
def chat_stream_helper(url, *_):
    """stream: the library's own helper puts it together"""
    c = client(url)
    with c.chat.completions.stream(model=first(c), messages=HELLO, max_tokens=24, temperature=0) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    assert answer.choices[0].message.content == chat(c).choices[0].message.content


@check
def stream_left(url, *_):
    """stream: left early, and the server goes on"""
    c = client(url)
    for _ in range(5):
        stream = chat(c, stream=True, max_tokens=500, extra_body={"min_tokens": 500})
        next(iter(stream))
        stream.close()
    chat(c)


@check
def many_answers(url, *_):
    """n: numbered, of one prompt; seeds repeat; streamed the same"""
    c = client(url)
    options = {"n": 3, "temperature": 1.0, "seed": 7}
    one, two = chat(c, **options), chat(c, **options)
    texts = [choice.message.content for choice in one.choices]
    assert [choice.index for choice in one.choices] == [0, 1, 2]
    assert texts == [choice.message.content for choice in two.choices]
    assert len(set(texts)) > 1, texts
    streamed = {}
    for chunk in chat(c, stream=True, **options):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + (choice.delta.content or "")
    assert [streamed[index] for index in range(3)] == texts, (streamed, texts)


@check
def stops(url, *_):
    """stop: one and several, whole and streamed, no part of one is sent"""
    c = client(url)
    whole = chat(c, max_tokens=40, extra_body={"min_tokens": 20}).choices[0].message.content
    stop = whole[3:6]
    expected = whole[: whole.index(stop)]
    for stops in (stop, [stop, "never said", "\x00"]):
        options = {"stop": stops, "max_tokens": 40, "extra_body": {"min_tokens": 0}}
        answer = chat(c, **options)
        assert answer.choices[0].message.content == expected, (answer.choices[0], expected)
        assert answer.choices[0].finish_reason == "stop"
        pieces = [chunk.choices[0].delta.content or "" for chunk in chat(c, stream=True, **options)]
        assert "".join(pieces) == expected, (pieces, expected)


@check
def chat_logprobs(url, *_):
    """logprobs: of chats, with alternatives, whole and streamed"""
    c = client(url)
    answer = chat(c, logprobs=True, top_logprobs=4)
    content = answer.choices[0].logprobs.content
    assert len(content) in (answer.usage.completion_tokens, answer.usage.completion_tokens - 1), (len(content), answer.usage)
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 4
        assert token.logprob == token.top_logprobs[0].logprob, "temperature 0 takes the likeliest"
        found = [other.logprob for other in token.top_logprobs]
        assert found == sorted(found, reverse=True)
    if all(token.bytes is not None for token in content):
        assert b"".join(bytes(token.bytes) for token in content).decode(errors="replace").startswith(answer.choices[0].message.content[:3])
    streamed = []
    for chunk in chat(c, logprobs=True, top_logprobs=4, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content or []
    assert [token.token for token in streamed] == [token.token for token in content]


@check
def sampling(url, *_):
    """sampling: temperature, top_p, penalties, logit_bias act or are refused by name"""
    c = client(url)
    texts = {chat(c, temperature=1.5, seed=seed).choices[0].message.content for seed in range(4)}
    assert len(texts) > 1
    assert chat(c, temperature=1.0, top_p=0.0).choices[0].message.content == chat(c).choices[0].message.content
    chat(c, presence_penalty=1.0, frequency_penalty=1.0, user="somebody", extra_body={"top_k": 5, "repetition_penalty": 1.1})
    banned = chat(c, max_tokens=1, logprobs=True, top_logprobs=1).choices[0].logprobs.content[0]
    token = c.completions.create(model=first(c), prompt="x", max_tokens=1, logit_bias={"7": 100}, temperature=0, logprobs=1)
    other = c.completions.create(model=first(c), prompt="x", max_tokens=1, logit_bias={"8": 100}, temperature=0, logprobs=1)
    assert token.choices[0].logprobs.tokens != other.choices[0].logprobs.tokens, (banned, token)
    refused(openai.BadRequestError, "temperature", lambda: chat(c, temperature=3))
    refused(openai.BadRequestError, "logit_bias", lambda: chat(c, logit_bias={"x": 1}))


@check
def completions(url, *_):
    """completions: text, tokens, batches of both; echo; streams"""
    c = client(url)
    model = first(c)
    options = {"model": model, "max_tokens": 8, "temperature": 0}
    one = c.completions.create(prompt="The river", **options)
    two = c.completions.create(prompt=["The river", "The garden"], **options)
    assert [choice.index for choice in two.choices] == [0, 1]
    assert two.choices[0].text == one.choices[0].text
    ids = c.completions.create(prompt=[[40, 41, 42], [43, 44]], n=2, **options)
    assert [choice.index for choice in ids.choices] == [0, 1, 2, 3]
    assert ids.usage.prompt_tokens == 5, ids.usage
    echoed = c.completions.create(prompt="The river", echo=True, **options)
    assert echoed.choices[0].text == "The river" + one.choices[0].text, (echoed.choices[0].text, one.choices[0].text)
    text = "".join(chunk.choices[0].text for chunk in c.completions.create(prompt="The river", stream=True, **options))
    assert text == one.choices[0].text


@check
def scores(url, *_):
    """completions: echo with logprobs scores a prompt, alone as among others"""
    c = client(url)
    ids = [40, 41, 42, 43, 44, 45, 46]
    options = {"model": first(c), "max_tokens": 1, "echo": True, "logprobs": 2, "temperature": 0}
    alone = c.completions.create(prompt=ids, **options).choices[0].logprobs
    # Clients cut the one new token off, so it must have an entry even if it ends the answer.
    assert len(alone.tokens) == len(alone.token_logprobs) == len(alone.top_logprobs) == len(ids) + 1, alone
    assert alone.token_logprobs[0] is None and all(value <= 0 for value in alone.token_logprobs[1:])
    # What LangChain's and others' evaluation reads: offsets within the text.
    assert alone.text_offset[0] == 0 and alone.text_offset == sorted(alone.text_offset)
    among = c.completions.create(prompt=[[50, 51], ids, [60] * 30], **options).choices[1].logprobs
    assert among.token_logprobs == alone.token_logprobs
    nothing = c.completions.create(prompt=ids, **(options | {"max_tokens": 0}))
    assert len(nothing.choices[0].logprobs.tokens) == len(ids)


@check
def embeddings(url, *_):
    """embeddings: one and several, floats and base64, the same values"""
    c = client(url)
    model = first(c)
    # The library asks for base64 unless told otherwise.
    found = c.embeddings.create(model=model, input=["The river", "A garden"])
    floats = c.embeddings.create(model=model, input="The river", encoding_format="float")
    assert len(found.data) == 2 and found.data[1].index == 1 and found.usage.prompt_tokens > 0
    ours, theirs = floats.data[0].embedding, found.data[0].embedding
    assert len(ours) == len(theirs) and max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-5
    raw = c.embeddings.create(model=model, input="The river", encoding_format="base64").data[0].embedding
    assert len(struct.unpack(f"<{len(ours)}f", base64.b64decode(raw))) == len(ours)
    refused(openai.BadRequestError, "dimensions", lambda: c.embeddings.create(model=model, input="x", dimensions=8))


@check
def json_object(url, *_):
    """response_format: json_object"""
    c = client(url)
    answer = chat(c, response_format={"type": "json_object"}, max_tokens=400)
    if answer.choices[0].finish_reason == "length":
        assert answer.choices[0].message.content.lstrip().startswith("{")
        return "cut by max_tokens"
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@check
def json_schema(url, *_):
    """response_format: json_schema, at several seeds, whole and streamed"""
    c = client(url)
    form = {"type": "json_schema", "json_schema": {"name": "report", "schema": SCHEMA, "strict": True}}
    for seed in range(5):
        answer = chat(c, response_format=form, max_tokens=300, temperature=1.0, seed=seed)
        assert answer.choices[0].finish_reason == "stop", answer
        found = json.loads(answer.choices[0].message.content)
        assert found["kind"] in ("part", "fault", "state") and 0 <= found["count"] <= 20 and len(found["tags"]) <= 2
        assert set(found) == set(SCHEMA["required"]) and isinstance(found["sure"], bool)
    stream = chat(c, response_format=form, max_tokens=300, temperature=1.0, seed=4, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert json.loads(text) == found
    bad = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {"type": "string"}}}}
    refused(openai.BadRequestError, "not", lambda: chat(c, response_format=bad))


@check
def parsed(url, *_):
    """response_format: the library's parse() of a pydantic model"""
    import pydantic

    class Report(pydantic.BaseModel):
        """What is asked for."""

        fault: bool
        count: int = pydantic.Field(ge=0, le=9)

    c = client(url)
    answer = c.chat.completions.parse(model=first(c), messages=HELLO, response_format=Report, max_tokens=200)
    assert isinstance(answer.choices[0].message.parsed, Report)


@check
def tools_required(_, url, *__):
    """tools: a call of one of them, or of a stated one, with arguments of its schema"""
    c = client(url)
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice in ("required", named):
        for seed in range(3):
            answer = chat(c, tools=TOOLS, tool_choice=choice, max_tokens=300, temperature=1.0, seed=seed)
            assert answer.choices[0].finish_reason == "tool_calls", answer.choices[0]
            (call,) = answer.choices[0].message.tool_calls
            assert call.type == "function" and call.id and call.function.name in ("get_weather", "now")
            given = json.loads(call.function.arguments)
            if call.function.name == "get_weather":
                assert isinstance(given["city"], str) and 1 <= given["days"] <= 7, given


@check
def tools_streamed(_, url, *__):
    """tools: streamed, the same call; its result is taken back"""
    c = client(url)
    named = {"type": "function", "function": {"name": "get_weather"}}
    options = {"tools": TOOLS, "tool_choice": named, "max_tokens": 300, "temperature": 1.0, "seed": 3}
    whole = chat(c, **options).choices[0].message
    name, given, reason = "", "", None
    for chunk in chat(c, stream=True, **options):
        for piece in chunk.choices[0].delta.tool_calls or []:
            name += piece.function.name or ""
            given += piece.function.arguments or ""
        reason = chunk.choices[0].finish_reason or reason
    call = whole.tool_calls[0]
    assert (name, json.loads(given)) == (call.function.name, json.loads(call.function.arguments)), (name, given, call)
    assert reason == "tool_calls"
    back = [*HELLO, whole.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "20 degrees"}]
    answer = chat(c, messages=back, tools=TOOLS)
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")


@check
def tools_auto(_, url, *__):
    """tools: auto and none answer; nonsense is refused"""
    c = client(url)
    chat(c, tools=TOOLS, tool_choice="auto")
    answer = chat(c, tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    missing = {"type": "function", "function": {"name": "nothing"}}
    refused(openai.BadRequestError, "", lambda: chat(c, tools=TOOLS, tool_choice=missing))


@check
def tools_of_others(url, *_):
    """tools: refused where the model knows none"""
    refused(openai.BadRequestError, "tools", lambda: chat(client(url), tools=TOOLS))


@check
def errors(url, *_):
    """errors: kinds, parameters and codes as the library reads them"""
    c = client(url)
    error = refused(openai.NotFoundError, first(c), lambda: chat(c, model="nothing"))
    assert error.code == "model_not_found", error
    error = refused(openai.BadRequestError, "max_tokens", lambda: chat(c, max_tokens=-1))
    assert error.param == "max_tokens" and error.type == "invalid_request_error"
    refused(openai.BadRequestError, "messages", lambda: chat(c, messages=[]))
    refused(openai.BadRequestError, "tempratur", lambda: chat(c, extra_body={"tempratur": 1}))
    long = [{"role": "user", "content": "river " * 60000}]
    error = refused(openai.BadRequestError, "", lambda: chat(c, messages=long))
    assert error.code == "context_length_exceeded", error


@check
def content_parts(url, *_):
    """messages: system, developer, parts of text; pictures are refused"""
    c = client(url)
    parts = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    assert chat(c, messages=parts).choices[0].message.content is not None
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    refused(openai.BadRequestError, "image", lambda: chat(c, messages=picture))


@check
def together(url, *_):
    """asynchronous: 12 streams at once, each as it is alone"""
    prompts = [[{"role": "user", "content": f"Number {number}, please."}] for number in range(12)]
    alone = [chat(client(url), messages=prompt).choices[0].message.content for prompt in prompts]

    async def one(c, model, prompt):
        stream = await c.chat.completions.create(model=model, messages=prompt, max_tokens=24, temperature=0, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as c:
            model = (await c.models.list()).data[0].id
            return await asyncio.gather(*(one(c, model, prompt) for prompt in prompts))

    assert asyncio.run(all_of_them()) == alone


@check
def retries(*urls):
    """429: with how long to wait; the library's retries get through"""
    url = urls[2]
    model = first(client(url))
    outcomes = []

    async def one(c):
        try:
            await c.chat.completions.create(model=model, messages=HELLO, max_tokens=200, extra_body={"min_tokens": 200})
            outcomes.append(200)
        except openai.RateLimitError as error:
            assert int(error.response.headers["retry-after"]) >= 1 and int(error.response.headers["retry-after-ms"]) >= 1
            assert error.code == "rate_limit_exceeded" and error.type == "rate_limit_error", error
            outcomes.append(429)

    async def crowd(size, tries):
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=tries) as c:
            await asyncio.gather(*(one(c) for _ in range(size)))

    asyncio.run(crowd(8, 0))
    assert 429 in outcomes and 200 in outcomes, outcomes
    told = f"{outcomes.count(200)} answered and {outcomes.count(429)} sent away"
    outcomes.clear()
    asyncio.run(crowd(6, 40))
    assert outcomes == [200] * 6, outcomes
    return told


if __name__ == "__main__":
    run("openai", *(f"{url}/v1" for url in sys.argv[1:4]))
