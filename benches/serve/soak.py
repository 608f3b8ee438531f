#!/usr/bin/env python3
"""Load with clients of all manners, for a stated time, and what is left of the server then.

    soak.py --seconds 1800 --work_dir DIR -- target/release/glmtune serve --model_name_or_path MODEL --port 0

Most clients ask and read; others hang up (before the head is whole, before the answer, within a stream), send what is
no HTTP or no JSON, stop reading, or stop sending, some for longer than the server waits. Nothing may be lost: whoever
behaves is answered in full (200, or 429 when too many ask). At the end the server answers, runs nothing and holds no
tokens; its memory in the last third of the time is that of the first; no answer had a status of 500 or above; its log
tells of no panic; SIGTERM ends it with status 0. Python's standard library alone."""

import argparse
import asyncio
import collections
import json
import pathlib
import random
import sys
import time

import wire

# Growth of memory, from the first third to the last, that is not called flat.
LEAK_PART, LEAK_MIB = 0.03, 16


class Soak:
    def __init__(self, server, models, options):
        self.server, self.models, self.options = server, models, options
        self.draws = random.Random(options.seed)
        self.counts = collections.Counter()
        self.faults = []
        self.tokens = 0

    def fault(self, who, what):
        self.counts["FAULT"] += 1
        if len(self.faults) < 50:
            self.faults.append(f"{who}: {what}")

    def text(self):
        words = "the river 你好 market 🙂 window \n garden 天气 letter {} [] morning".split(" ")
        return " ".join(self.draws.choice(words) for _ in range(self.draws.randint(1, 60)))

    def request(self, stream=None, tokens=None):
        """A request that can be answered."""
        draws = self.draws
        body = {"model": draws.choice(self.models), "max_tokens": tokens or draws.choice([1, 8, 32, 96])}
        body["stream"] = draws.random() < 0.7 if stream is None else stream
        body["temperature"] = draws.choice([0, 0.7, 1.0])
        if draws.random() < 0.2:
            body["n"] = draws.randint(2, 3)
        if draws.random() < 0.2:
            body["stop"] = ["a", "。", "\n"]
        if draws.random() < 0.2:
            body["seed"] = draws.randint(0, 9)
        if body["stream"] and draws.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        if draws.random() < 0.5:
            body["prompt"] = self.text()
            if draws.random() < 0.2:
                body["logprobs"] = 3
            return "/v1/completions", body
        body["messages"] = [{"role": "user", "content": self.text()}]
        if draws.random() < 0.3:
            more = {"role": "assistant", "content": self.text()}, {"role": "user", "content": self.text()}
            body["messages"] += more
        return "/v1/chat/completions", body

    def count(self, who, status):
        self.counts[f"{who} {status}"] += 1
        if status >= 500:
            self.fault(who, f"status {status}")

    async def well_behaved(self):
        """Asks and reads all of the answer."""
        path, body = self.request()
        response = await self.server.send("POST", path, body)
        try:
            self.count("asked", response.status)
            if response.status not in (200, 429):
                self.fault("asked", f"{response.status}: {await response.body()}")
            elif body["stream"] and response.status == 200:
                await self.whole_stream(response, body.get("n", 1))
            else:
                json.loads(await response.body())
        finally:
            response.close()

    async def whole_stream(self, response, answers):
        reasons, done = 0, False
        async for _, data in response.events():
            if data == "[DONE]":
                done = True
                continue
            event = json.loads(data)
            if "error" in event:
                self.fault("stream", event)
            reasons += sum(bool(choice.get("finish_reason")) for choice in event.get("choices", []))
        if not done or reasons != answers:
            self.fault("stream", f"{reasons} of {answers} answers ended, [DONE]: {done}")

    async def other_paths(self):
        draws = self.draws
        asked = [
            ("GET", "/v1/models", None),
            ("GET", "/health", None),
            ("GET", "/metrics", None),
            ("POST", "/tokenize", {"model": self.models[0], "prompt": self.text()}),
            ("POST", "/v1/embeddings", {"model": draws.choice(self.models), "input": [self.text(), "a"]}),
        ]
        status, _, _ = await self.server.ask(*draws.choice(asked))
        self.count("other paths", status)
        if status not in (200, 429):
            self.fault("other paths", f"status {status}")

    async def hangs_up(self):
        """Leaves within the head, before the answer, or within the stream."""
        path, body = self.request(stream=True, tokens=self.draws.choice([64, 256]))
        body["min_tokens"] = body["max_tokens"]
        payload = json.dumps(body).encode()
        message = self.server.head("POST", path, len(payload)) + payload
        reader, writer = await self.server.connect()
        when = self.draws.random()
        try:
            if when < 0.2:
                writer.write(message[: self.draws.randrange(len(message))])
                await writer.drain()
            else:
                writer.write(message)
                await writer.drain()
                await asyncio.sleep(self.draws.random() * 0.2)
                if when > 0.4:
                    await reader.read(self.draws.randint(1, 20000))
        finally:
            if self.draws.random() < 0.5:
                writer.transport.abort()
            writer.close()
        self.counts["hung up"] += 1

    async def garbage(self):
        """What is no HTTP, or no JSON: refused, or cut off."""
        draws = self.draws
        noise = draws.randbytes(draws.randint(1, 3000))
        kind = draws.randrange(4)
        if kind == 0:
            message = noise
        elif kind == 1:
            message = self.server.head("POST", "/v1/chat/completions", len(noise)) + noise
        elif kind == 2:
            text = json.dumps(self.request()[1]).encode()
            cut = text[: draws.randrange(len(text))]
            message = self.server.head("POST", "/v1/completions", len(cut)) + cut
        else:
            message = self.server.head("POST", "/v1/completions", 1 << draws.randint(1, 62)) + noise
        reader, writer = await self.server.connect()
        try:
            writer.write(message)
            await writer.drain()
            writer.write_eof()
            found = await asyncio.wait_for(reader.read(65536), 60)
            if found:
                status = int(found[9:12])
                self.count("garbage", status)
                if status < 400:
                    self.fault("garbage", f"status {status} for {message[:300]!r}")
        finally:
            writer.close()

    async def stops_reading(self):
        """Asks for much, and reads nothing of it for some time."""
        path, body = self.request(stream=True, tokens=self.draws.choice([256, 512]))
        body.update({"min_tokens": body["max_tokens"], "n": 2})
        body.update({"logprobs": 5} if path == "/v1/completions" else {"logprobs": True, "top_logprobs": 20})
        response = await self.server.send("POST", path, body, receive_buffer=4096)
        try:
            self.count("stops reading", response.status)
            if response.status == 200:
                await asyncio.sleep(self.draws.choice([1, 3, 10, 45]))
                if self.draws.random() < 0.5:
                    await response.body()
        finally:
            response.abort()

    async def stops_sending(self):
        """Sends the half of a request, waits, and goes on or leaves."""
        path, body = self.request(stream=False, tokens=8)
        payload = json.dumps(body).encode()
        message = self.server.head("POST", path, len(payload)) + payload
        cut = self.draws.randrange(1, len(message))
        wait = self.draws.choice([0.2, 1, 5, 40])
        reader, writer = await self.server.connect()
        try:
            writer.write(message[:cut])
            await writer.drain()
            await asyncio.sleep(wait)
            if self.draws.random() < 0.7:
                writer.write(message[cut:])
                await writer.drain()
                response = await wire.read_head(reader, writer)
                self.count(f"sent late ({wait} s)", response.status)
                late = wait > 30 or response.status in (200, 429)
                if not late:
                    self.fault("sent late", f"status {response.status} after {wait} s")
        except (OSError, wire.Broken) as error:
            if wait < 30:
                self.fault("sent late", f"{type(error).__name__} after {wait} s")
        finally:
            writer.close()

    async def client(self, acts, until):
        kinds, weights = zip(*acts)
        while time.monotonic() < until:
            act = self.draws.choices(kinds, weights)[0]
            try:
                await asyncio.wait_for(act(), 180)
            except asyncio.TimeoutError:
                self.fault(act.__name__, "no end within three minutes")
            except (OSError, wire.Broken, ValueError) as error:
                self.counts[f"{act.__name__} {type(error).__name__}"] += 1
                if act in (self.well_behaved, self.other_paths):
                    self.fault(act.__name__, repr(error))
            await asyncio.sleep(self.draws.expovariate(self.options.pace))

    async def run(self):
        until = time.monotonic() + self.options.seconds
        good = [(self.well_behaved, 5), (self.other_paths, 1)]
        bad = [(self.hangs_up, 4), (self.garbage, 4), (self.stops_reading, 1), (self.stops_sending, 2)]
        clients = [self.client(good, until) for _ in range(self.options.good)]
        clients += [self.client(bad, until) for _ in range(self.options.bad)]
        await asyncio.gather(*clients, self.tell(until))

    async def tell(self, until):
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(60, left))
            print(f"{int(max(0, until - time.monotonic()))} s left: {dict(self.counts)}", file=sys.stderr, flush=True)

    async def at_rest(self):
        """Whether the server answers, and has let go of all that clients left."""
        found = {}
        for _ in range(90):
            found = await self.server.metrics()
            held = ("glmtune_requests_running", "glmtune_requests_waiting", "glmtune_cache_used_tokens")
            if not any(found[name] for name in held):
                break
            await asyncio.sleep(1)
        else:
            self.fault("at rest", {name: found[name] for name in held})
        for name, value in found.items():
            if name.startswith("glmtune_http_requests_total") and 'status="5' in name and value:
                self.fault("metrics", f"{name} {value:g}")
        await self.well_behaved()
        return found


def memory(watch, fault):
    first, last = watch.thirds()
    if last - first > max(LEAK_MIB, LEAK_PART * first):
        fault("memory", f"{first:.0f} MiB in the first third, {last:.0f} MiB in the last")
    return {"first_third": first, "last_third": last, "peak": watch.peak()}


async def measure(options, started):
    server = wire.Server(started.url)
    _, _, body = await server.ask("GET", "/v1/models")
    soak = Soak(server, [model["id"] for model in json.loads(body)["data"]], options)
    for _ in range(10):
        await soak.well_behaved()
    async with wire.Watch(started.process.pid, every=1) as watch:
        await soak.run()
    found = await soak.at_rest()
    result = {"seconds": options.seconds, "clients": [options.good, options.bad], "seed": options.seed}
    result["memory_mib"] = memory(watch, soak.fault)
    result["generated_tokens"] = found["glmtune_generated_tokens_total"]
    result["counts"] = dict(sorted(soak.counts.items()))
    return result, soak.faults


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--good", type=int, default=8, help="clients that behave")
    parser.add_argument("--bad", type=int, default=16, help="clients that do not")
    parser.add_argument("--pace", type=float, default=2.0, help="a client's requests per second at most, on the average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work_dir", default="soak", help="folder for the log and the results")
    parser.add_argument("command", nargs="+", help="the server")
    return parser.parse_args()


def main():
    options = arguments()
    work = pathlib.Path(options.work_dir)
    work.mkdir(parents=True, exist_ok=True)
    started = wire.Started(options.command, work / "server.log")
    try:
        started.wait()
        result, faults = asyncio.run(measure(options, started))
    finally:
        status = started.end()
    faults += [f"log: {line}" for line in started.panics()]
    if status != 0:
        faults.append(f"the server ended with status {status}")
    result["faults"] = faults
    (work / "soak.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
