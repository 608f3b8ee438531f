#!/usr/bin/env python3
"""Load for a server that speaks OpenAI's API, and what it makes of it.

    load.py --url http://127.0.0.1:8000 --clients 16 --requests 32      N clients, each asks again when it was answered
    load.py --url http://127.0.0.1:8000 --rate 2 --seconds 60           requests arrive at random, whoever is served

Prompts of completions are random token ids, so that none begins as another does; those of chats are random words, and
have about as many tokens as asked for. Answers are streams. Times are this program's: from the first byte of a
request to the first event with text, and from one such event to the next; a server that holds back half a character
puts two tokens into one event, so tokens are counted as the server's `usage` has them. Temperature is 0.
Python's standard library alone."""

import argparse
import asyncio
import dataclasses
import json
import random
import sys
import time

import wire

WORDS = "river stone market window garden letter morning answer paper winter table number music island summer road".split()


@dataclasses.dataclass
class Answer:
    """What became of a request; times in seconds from its sending."""

    outcome: str
    prompt_tokens: int = 0
    tokens: int = 0
    first: float = None
    gaps: list = dataclasses.field(default_factory=list)
    total: float = 0.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", help="model's name [default: the first that the server has]")
    parser.add_argument("--endpoint", choices=["completions", "chat"], default="completions")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int, help="requests of all clients together [default: 4 for each]")
    parser.add_argument("--rate", type=float, help="requests per second, in place of --clients")
    parser.add_argument("--seconds", type=float, default=60, help="how long they arrive, with --rate")
    parser.add_argument("--prompt_tokens", type=int, default=64)
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--ids", type=int, nargs=2, default=[1000, 2500], help="least and greatest token id of prompts")
    parser.add_argument("--extra", type=json.loads, default={}, help="further fields of a request, as JSON")
    parser.add_argument("--warm_up", type=int, default=1, help="requests before, that do not count")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one answer may take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pid", type=int, help="the server's process, whose memory is watched")
    parser.add_argument("--name", default="")
    parser.add_argument("--json", help="file for the results")
    return parser.parse_args()


def request(options, draws):
    """Path and body of a request."""
    body = {"model": options.model, "max_tokens": options.new_tokens, "temperature": 0, "stream": True}
    body["stream_options"] = {"include_usage": True}
    if options.endpoint == "completions":
        low, high = options.ids
        body["prompt"] = [draws.randint(low, high) for _ in range(options.prompt_tokens)]
        return "/v1/completions", body | options.extra
    text = " ".join(draws.choice(WORDS) for _ in range(options.prompt_tokens))
    body["messages"] = [{"role": "user", "content": text}]
    return "/v1/chat/completions", body | options.extra


def text_of(event):
    """The text of an event, however it is told."""
    for choice in event.get("choices") or []:
        delta = choice.get("delta") or {}
        if text := choice.get("text") or delta.get("content") or delta.get("tool_calls"):
            return text
    return None


async def ask(server, path, body):
    start = time.perf_counter()
    response = await server.send("POST", path, body)
    try:
        if response.status != 200:
            await response.body()
            return Answer(str(response.status))
        answer, last, ended = Answer("broken off"), None, False
        async for arrived, data in response.events():
            if data == "[DONE]":
                ended = True
                continue
            event = json.loads(data)
            if "error" in event:
                return Answer("error in the stream")
            if usage := event.get("usage"):
                answer.prompt_tokens, answer.tokens = usage["prompt_tokens"], usage["completion_tokens"]
            if text_of(event):
                if last is None:
                    answer.first = arrived - start
                else:
                    answer.gaps.append(arrived - last)
                last = arrived
        answer.total = time.perf_counter() - start
        answer.outcome = "200" if ended else "broken off"
        return answer
    finally:
        response.close()


async def asked(server, options, draws):
    """The same, whatever happens."""
    path, body = request(options, draws)
    try:
        return await asyncio.wait_for(ask(server, path, body), options.timeout)
    except asyncio.TimeoutError:
        return Answer("timeout")
    except (OSError, wire.Broken, ValueError) as error:
        return Answer(type(error).__name__)


async def closed(server, options, draws):
    """So many clients, each of which asks again when it was answered."""
    left = options.requests or 4 * options.clients

    async def client():
        nonlocal left
        answers = []
        while left > 0:
            left -= 1
            answers.append(await asked(server, options, draws))
        return answers

    together = await asyncio.gather(*(client() for _ in range(options.clients)))
    return [answer for answers in together for answer in answers]


async def opened(server, options, draws):
    """Requests at random times, as many per second as asked for on the average."""
    tasks, now = [], time.perf_counter()
    due, until = now, now + options.seconds
    while (due := due + draws.expovariate(options.rate)) < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(asked(server, options, draws)))
    return await asyncio.gather(*tasks)


def summary(options, answers, seconds, watch):
    good = [answer for answer in answers if answer.outcome == "200"]
    firsts = [1000 * answer.first for answer in good if answer.first is not None]
    gaps = [1000 * gap for answer in good for gap in answer.gaps]
    outcomes = {}
    for answer in answers:
        outcomes[answer.outcome] = outcomes.get(answer.outcome, 0) + 1
    return {
        "name": options.name,
        "load": f"{options.rate:g}/s" if options.rate else f"{options.clients} clients",
        "clients": None if options.rate else options.clients,
        "rate": options.rate,
        "endpoint": options.endpoint,
        "requests": len(answers),
        "outcomes": outcomes,
        "prompt_tokens": sum(answer.prompt_tokens for answer in good),
        "new_tokens": sum(answer.tokens for answer in good),
        "seconds": seconds,
        "tokens_per_second": sum(answer.tokens for answer in good) / seconds,
        "first_token_ms": {"median": wire.median(firsts), "p99": wire.quantile(firsts, 0.99)},
        "between_ms": {"median": wire.median(gaps), "p99": wire.quantile(gaps, 0.99)},
        "answer_seconds_median": wire.median([answer.total for answer in good]),
        "peak_mib": watch.peak(),
        "seed": options.seed,
    }


COLUMNS = f"{'':12} {'load':>10} {'prompt':>7} {'new':>6} {'ok':>5} {'else':>5} {'tokens/s':>9} " + (
    f"{'first ms':>9} {'p99':>8} {'next ms':>8} {'p99':>8} {'MiB':>7}"
)


def row(found):
    good = found["outcomes"].get("200", 0)
    each = max(1, good)
    first, between = found["first_token_ms"], found["between_ms"]
    return (
        f"{found['name'][:12]:12} {found['load']:>10} {found['prompt_tokens'] / each:7.0f} {found['new_tokens'] / each:6.0f} "
        f"{good:5} {found['requests'] - good:5} {found['tokens_per_second']:9.1f} {first['median']:9.0f} "
        f"{first['p99']:8.0f} {between['median']:8.1f} {between['p99']:8.1f} {found['peak_mib']:7.0f}"
    )


async def first_model(server):
    status, _, body = await server.ask("GET", "/v1/models")
    if status != 200:
        raise SystemExit(f"/v1/models has status {status}")
    return json.loads(body)["data"][0]["id"]


async def main():
    options = arguments()
    server, draws = wire.Server(options.url), random.Random(options.seed)
    options.model = options.model or await first_model(server)
    for _ in range(options.warm_up):
        await asked(server, options, draws)
    async with wire.Watch(options.pid) as watch:
        start = time.perf_counter()
        answers = await (opened if options.rate else closed)(server, options, draws)
        seconds = time.perf_counter() - start
    found = summary(options, answers, seconds, watch)
    print(COLUMNS)
    print(row(found))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)
    faults = {outcome: count for outcome, count in found["outcomes"].items() if outcome != "200"}
    if faults:
        print(f"not answered: {faults}", file=sys.stderr)
    return 1 if not answers or set(faults) - {"429"} else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
