#!/usr/bin/env python3
"""Requests that no client should send, and whether each is refused as it should be.

    fuzz.py --requests 10000 --work_dir DIR -- target/release/glmtune serve --model_name_or_path MODEL --port 0

Bodies (cut, of wrong types, numbers without measure, nested, no UTF-8, with NUL, with keys twice, of another content
type), heads (overlong, badly framed, with two lengths, for another host), paths and methods, bodies that come slowly or
not in full, early hang-ups. Each has a status that it must have, or several; errors that the API tells are of OpenAI's
form and say nothing of the machine. At the end the server answers, holds nothing, has as much memory as after the first
tenth, and its log tells of no panic. Seeded: the same requests each time. Python's standard library alone."""

import argparse
import asyncio
import collections
import json
import pathlib
import random
import sys

import wire

# Growth of memory, from the first tenth to the end, that is not called flat, and the most that it may be meanwhile.
LEAK_PART, LEAK_MIB, MOST_MIB = 0.05, 24, 2048

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
POSTS = [CHAT, TEXT, EMBED, "/tokenize", "/detokenize"]

# Fields with the types that they may have, and the paths that know them.
FIELDS = {
    "model": ("string", POSTS),
    "messages": ("list", [CHAT]),
    "prompt": ("string list", [TEXT]),
    "input": ("string list", [EMBED]),
    "tokens": ("list", ["/detokenize"]),
    "max_tokens": ("count", [CHAT, TEXT]),
    "max_completion_tokens": ("count", [CHAT]),
    "n": ("count", [CHAT, TEXT]),
    "best_of": ("count", [TEXT]),
    "stream": ("boolean", [CHAT, TEXT]),
    "stream_options": ("object", [CHAT, TEXT]),
    "stop": ("string list", [CHAT, TEXT]),
    "seed": ("count", [CHAT, TEXT]),
    "temperature": ("number count", [CHAT, TEXT]),
    "top_p": ("number count", [CHAT, TEXT]),
    "top_k": ("count", [CHAT, TEXT]),
    "repetition_penalty": ("number count", [CHAT, TEXT]),
    "presence_penalty": ("number count", [CHAT, TEXT]),
    "frequency_penalty": ("number count", [CHAT, TEXT]),
    "logit_bias": ("object", [CHAT, TEXT]),
    "logprobs": ("boolean", [CHAT]),
    "top_logprobs": ("count", [CHAT]),
    "echo": ("boolean", [TEXT]),
    "response_format": ("object", [CHAT]),
    "tools": ("list", [CHAT]),
    "tool_choice": ("string object", [CHAT]),
    "encoding_format": ("string", [EMBED]),
    "min_tokens": ("count", [CHAT, TEXT]),
}

# Values by type. Those of the right type can still be wrong: see OUTSIDE.
VALUES = {
    "string": ["", "x", "\x00", "model\x00", "é" * 300, "../../etc/passwd", "null"],
    "list": [[], [None], [[]], [{}], [[[[1]]]], [1.5], ["a", 1], [{"role": "user"}], [-1]],
    "object": [{}, {"a": 1}, {"": None}, {"type": []}],
    "boolean": [True, False],
    "number": [0.5, -0.5, 1e308, -1e308, 5e-324],
    "count": [0, -1, 1 << 31, 1 << 63, (1 << 64) - 1, 1 << 64, 10**40],
}

# Values that are of the right type and must be refused all the same.
OUTSIDE = {
    "max_tokens": [-1, 1 << 29, 1 << 40, 1 << 63],
    "n": [0, -1, 129, 1 << 40],
    "temperature": [-0.1, 2.1, 1e300],
    "top_p": [-0.1, 1.1],
    "top_k": [-2, 1 << 40],
    "repetition_penalty": [0, -1, 11],
    "presence_penalty": [-2.1, 2.1],
    "frequency_penalty": [-2.1, 2.1],
    "stop": [["a", "b", "c", "d", "e"], "", [""], ["x" * 2000], [1]],
    "logit_bias": [{"a": 1}, {"-1": 1}, {"99999999": 1}, {"1": 101}, {"1": "x"}, {"1": None}],
    "model": ["no such", "x" * 5000],
    "messages": [[], [{}], [{"role": "user"}], [{"role": "wizard", "content": "x"}], [{"role": "user", "content": 7}]],
    "prompt": [[], [[]], [-1], [1 << 40], [1.5], [[1], 2], [None]],
    "input": [[], [[]], [-1], [1 << 40], [None]],
    "tokens": [[-1], [1 << 40], ["a"], [[1]], [1.5]],
    "stream_options": [{"include_usage": 1}, {"other": True}],
    "response_format": [{}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": 7}}],
    "tools": [[1], [{}], [{"type": "function"}], [{"type": "function", "function": {"name": "a b"}}]],
    "tool_choice": ["sometimes", {}],
    "encoding_format": ["int8"],
}


class Case:
    """A request: its bytes, in pieces with pauses between, and what may become of it."""

    def __init__(self, kind, pieces, statuses, silent=False, then=None):
        self.kind, self.pieces, self.statuses = kind, pieces, set(statuses)
        # Whether the connection may end without an answer.
        self.silent = silent
        # "hang up": nobody waits for an answer.
        self.then = then


class Fuzz:
    def __init__(self, server, model, options):
        self.server, self.model, self.options = server, model, options
        self.draws = random.Random(options.seed)
        self.counts = collections.Counter()
        self.faults = []

    def valid(self, path):
        body = {"model": self.model}
        if path == CHAT:
            return body | {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
        if path == TEXT:
            return body | {"prompt": "hello", "max_tokens": 2}
        if path == EMBED:
            return body | {"input": "hello"}
        return body | ({"prompt": "hello"} if path == "/tokenize" else {"tokens": [5, 6]})

    def message(self, path, payload, headers=(), method="POST"):
        return self.server.head(method, path, len(payload), headers) + payload

    # Bodies.

    def wrong_type(self):
        draws = self.draws
        name = draws.choice(list(FIELDS))
        types, paths = FIELDS[name]
        path = draws.choice(paths)
        others = [kind for kind in VALUES if kind not in types.split()]
        if "number" in types:
            others = [kind for kind in others if kind != "count"]
        value = draws.choice(VALUES[draws.choice(others)])
        body = self.valid(path) | {name: value}
        statuses = {404} if name == "model" and isinstance(value, str) else {400}
        return Case(f"wrong type: {name}", [self.message(path, json.dumps(body).encode())], statuses)

    def outside(self):
        name = self.draws.choice(list(OUTSIDE))
        path = self.draws.choice(FIELDS[name][1])
        body = self.valid(path) | {name: self.draws.choice(OUTSIDE[name])}
        if name == "stream_options":
            body["stream"] = True
        if name == "tool_choice":
            body["tools"] = [{"type": "function", "function": {"name": "a"}}]
        statuses = {404} if name == "model" else {400}
        return Case(f"outside: {name}", [self.message(path, json.dumps(body).encode())], statuses)

    def unknown_field(self):
        path = self.draws.choice(POSTS)
        name = "".join(self.draws.choice("abcdefgxyz_\x00é\n\"") for _ in range(self.draws.choice([1, 5, 40, 4000])))
        body = self.valid(path) | {name + "_": self.draws.choice([1, "x", {}, None])}
        return Case("unknown field", [self.message(path, json.dumps(body).encode())], {400})

    def missing_field(self):
        path = self.draws.choice([CHAT, EMBED, "/detokenize", TEXT])
        body = self.valid(path)
        for name in ("messages", "input", "tokens", "prompt"):
            body.pop(name, None)
        return Case("missing field", [self.message(path, json.dumps(body).encode())], {400})

    def cut(self):
        path = self.draws.choice(POSTS)
        payload = json.dumps(self.valid(path)).encode()
        return Case("cut JSON", [self.message(path, payload[: self.draws.randrange(len(payload))])], {400})

    def mutated(self):
        """Some bytes are others: mostly no JSON, and whatever it is, no failure."""
        path = self.draws.choice(POSTS)
        payload = bytearray(json.dumps(self.valid(path)).encode())
        for _ in range(self.draws.randint(1, 4)):
            payload[self.draws.randrange(len(payload))] = self.draws.randrange(256)
        return Case("mutated JSON", [self.message(path, bytes(payload))], {200, 400, 404})

    def noise(self):
        payload = self.draws.randbytes(self.draws.choice([1, 10, 1000, 100000]))
        return Case("noise", [self.message(self.draws.choice(POSTS), payload)], {400})

    def not_utf8(self):
        path = self.draws.choice(POSTS)
        payload = json.dumps(self.valid(path)).encode()
        bad = self.draws.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\x80", b"\x00", b"\\ud800"])
        return Case("no UTF-8", [self.message(path, payload.replace(b"model", b"mod" + bad, 1))], {400})

    def surrogate(self):
        body = json.dumps(self.valid(CHAT)).encode()
        return Case("lone surrogate", [self.message(CHAT, body.replace(b"hello", b"\\ud800 x"))], {400})

    def nul(self):
        """NUL is a character of JSON's texts: it is taken, or refused, and stops nothing."""
        path = self.draws.choice([CHAT, TEXT, EMBED, "/tokenize"])
        body = json.dumps(self.valid(path)).replace("hello", "a\\u0000b\\u001f\\uffff").encode()
        return Case("NUL", [self.message(path, body)], {200, 400})

    def nested(self):
        depth = self.draws.choice([130, 1000, 100000])
        kind = self.draws.choice([(b"[", b"]"), (b'{"a":', b"1}" if depth else b"")])
        inner = kind[0] * depth + kind[1] * (depth if self.draws.random() < 0.5 else 0)
        payload = b'{"model":"m","messages":' + inner + b"}"
        return Case("nested", [self.message(self.draws.choice(POSTS), payload)], {400})

    def nested_schema(self):
        """A schema of many levels, or with a reference to itself and nothing else."""
        schema = {"type": "object"}
        for _ in range(self.draws.choice([10, 60, 100])):
            schema = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
        if self.draws.random() < 0.5:
            schema = {"$ref": self.draws.choice(["#", "#/definitions/a", "file:///etc/passwd", "http://127.0.0.1:1/x", "#/%ff"])}
            if self.draws.random() < 0.5:
                schema["definitions"] = {"a": {"$ref": "#/definitions/a"}}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        body = self.valid(CHAT) | {"response_format": form}
        return Case("schema", [self.message(CHAT, json.dumps(body).encode())], {200, 400})

    def pattern(self):
        found = self.draws.choice(["(a+)+$", "a{1000}{1000}", "(" * 100 + ")" * 100, "[", "(?=x)", "\\p{L}{500}", "(a|b|c|d){4000}"])
        schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": found}}, "required": ["a"]}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        body = self.valid(CHAT) | {"response_format": form}
        return Case("pattern", [self.message(CHAT, json.dumps(body).encode())], {200, 400})

    def number(self):
        path = self.draws.choice([CHAT, TEXT])
        name = self.draws.choice(["max_tokens", "n", "temperature", "seed", "top_k", "top_p"])
        value = self.draws.choice(["1e999", "-1e999", "9" * 400, "0." + "9" * 4000, "1E+400", "-", "01", ".5", "NaN", "Infinity", "0x10"])
        body = json.dumps(self.valid(path) | {name: "HERE"}).replace('"HERE"', value).encode()
        harmless = value.startswith("0.9") and name in ("temperature", "top_p")
        return Case("number", [self.message(path, body)], {200} if harmless else {400})

    def twice(self):
        """A key that stands twice: one of them counts, and a wrong one is refused if it does."""
        path = self.draws.choice(POSTS)
        body = json.dumps(self.valid(path)).encode()
        more = self.draws.choice([b'"model": 7, ', b'"model": "x", ', b'"max_tokens": {}, ', b'"messages": [], '])
        return Case("key twice", [self.message(path, b"{" + more + body[1:])], {200, 400, 404})

    def no_object(self):
        payload = self.draws.choice([b"", b"null", b"[]", b"7", b'"x"', b"true", b"{}", b"{} {}", b"\xef\xbb\xbf{}", b" " * 1000])
        # Without `model`, tokens are the base's: an empty list is not given, so all are refused.
        return Case("no object", [self.message(self.draws.choice(POSTS), payload)], {400})

    def large(self):
        """Beyond what the server takes: refused from its length, or while it comes."""
        size = (8 << 20) + self.draws.randint(1, 1000)
        if self.draws.random() < 0.8:
            head = self.server.head("POST", CHAT, size)
            rest = b"{" if self.draws.random() < 0.5 else b" " * size
            return Case("large" if rest == b"{" else "large, sent", [head + rest], {413}, silent=rest != b"{")
        head = self.server.head("POST", CHAT, None, ["Content-Type: application/json", "Transfer-Encoding: chunked"])
        piece = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
        return Case("large in pieces", [head] + [piece] * 10 + [b"0\r\n\r\n"], {413}, silent=True)

    def huge_text(self):
        """A text that cannot fit: refused, without much memory, also if nobody waits for it."""
        path = self.draws.choice([CHAT, TEXT, EMBED])
        text = self.draws.choice(["a", " ", "天", "1 ", "ﷺ"])
        text *= (6 << 20) // len(json.dumps(text))
        body = self.valid(path)
        name = {CHAT: "messages", TEXT: "prompt", EMBED: "input"}[path]
        body[name] = [{"role": "user", "content": text}] if path == CHAT else text
        if path == CHAT and self.draws.random() < 0.3:
            call = {"id": "a", "type": "function", "function": {"name": "a", "arguments": json.dumps({"b": text})}}
            called = {"role": "assistant", "content": None, "tool_calls": [call]}
            body["messages"] = [{"role": "user", "content": "a"}, called, {"role": "tool", "tool_call_id": "a", "content": "b"}]
        then = "hang up" if self.draws.random() < 0.3 else None
        return Case("huge text", [self.message(path, json.dumps(body).encode())], {400, 413}, silent=bool(then), then=then)

    # Heads.

    def content_type(self):
        kind = self.draws.choice(["text/plain", "", "application/xml", "multipart/form-data; boundary=x", "json", "\x7f", "application/json5"])
        payload = json.dumps(self.valid(CHAT)).encode()
        lines = [f"POST {CHAT} HTTP/1.1", f"Host: {self.server.host}", "Connection: close", f"Content-Length: {len(payload)}"]
        if kind:
            lines.append(f"Content-Type: {kind}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return Case("content type", [head + payload], {415, 400})

    def encoded(self):
        coding = self.draws.choice(["gzip", "br", "deflate, gzip", "nonsense"])
        payload = json.dumps(self.valid(CHAT)).encode()
        return Case("encoded", [self.message(CHAT, payload, [f"Content-Encoding: {coding}"])], {415, 400})

    def framing(self):
        """Lengths that cannot be, or two of them: what hides a second request in a first is not taken."""
        payload = json.dumps(self.valid(CHAT)).encode()
        length = len(payload)
        bad = self.draws.choice([
            ["Content-Length: -1"],
            ["Content-Length: x"],
            ["Content-Length: 99999999999999999999999"],
            [f"Content-Length: {length}", f"Content-Length: {length + 1}"],
            [f"Content-Length: {length}, {length + 1}"],
            [f"Content-Length: +{length}"],
            ["Transfer-Encoding: gzip"],
            ["Transfer-Encoding: chunked, gzip"],
            ["Transfer-Encoding: xchunked"],
            [f"Content-Length : {length}"],
        ])
        head = self.server.head("POST", CHAT, None, ["Content-Type: application/json", *bad])
        return Case("framing", [head + payload], {400, 411, 413, 415, 501}, silent=True)

    def both_lengths(self):
        """Content-Length beside chunks: the chunks count or it is refused; the connection ends."""
        payload = json.dumps(self.valid(CHAT)).encode()
        headers = ["Content-Type: application/json", f"Content-Length: {self.draws.choice([0, 1, len(payload), 10 ** 6])}"]
        head = self.server.head("POST", CHAT, None, [*headers, "Transfer-Encoding: chunked"])
        return Case("both lengths", [head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(payload), payload)], {200, 400}, silent=True)

    def chunks(self):
        payload = json.dumps(self.valid(CHAT)).encode()
        head = self.server.head("POST", CHAT, None, ["Content-Type: application/json", "Transfer-Encoding: chunked"])
        size = self.draws.choice([b"-1", b"zz", b"", b"ffffffffffffffffff", b"%x;" % len(payload) + b"e" * 100000, b"0x10"])
        return Case("chunks", [head + size + b"\r\n" + payload + b"\r\n0\r\n\r\n"], {400, 413, 431}, silent=True)

    def overlong(self):
        lines = self.draws.choice([
            ["X-Long: " + "a" * 200000],
            [f"X-{number}: a" for number in range(300)],
            ["A" * 100000 + ": b"],
            ["Cookie: " + "a=b; " * 30000],
        ])
        return Case("overlong head", [self.server.head("GET", "/v1/models", None, lines)], {400, 431}, silent=True)

    def bad_header(self):
        line = self.draws.choice(["no colon", ": empty", "X Y: z", "X: a\x00b", "X\x00: a", "é: a", "X: a\rb", " folded"])
        head = self.server.head("GET", "/v1/models", None, [line])
        return Case("bad header", [head], {400}, silent=True)

    def host(self):
        host = self.draws.choice(["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]", "a b", "10.0.0.1", "\x01"])
        kind, lines = self.draws.choice([
            ("host", [f"Host: {host}"]),
            # RFC 9112, section 3.2: 400 for no host, and for two.
            ("no host", []),
            ("two hosts", [f"Host: {self.server.host}", f"Host: {host or 'x'}"]),
        ])
        head = ("\r\n".join(["GET /v1/models HTTP/1.1", "Connection: close", *lines]) + "\r\n\r\n").encode("latin-1")
        return Case(kind, [head], {400, 403, 421} if kind == "host" else {400, 403}, silent=kind == "host")

    def first_line(self):
        line = self.draws.choice([
            "GET", "GET /", "GET / HTTP/9.9", "get /v1/models", "GET  /v1/models HTTP/1.1", "\x16\x03\x01\x02\x00\x01", "GET /v1/models HTTP/1.1 x",
            "PRI * HTTP/2.0", "G\x00T / HTTP/1.1", "GET /\x00 HTTP/1.1", "A" * 70000 + " / HTTP/1.1", "GET http:///v1 HTTP/1.1", "",
        ])
        return Case("first line", [line.encode("latin-1") + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"], {400, 404, 405, 414, 431, 505}, silent=True)

    def path(self):
        path = self.draws.choice([
            "/v1/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/models/%ff", "/v1/models/%00", "//", "/v1/", "/v1/chat/completions/", "*",
            "/v1/models/" + "a" * 5000, "/v1/models/../../x", "/V1/MODELS", "/v1/chat//completions", "/%", "/v1/models/%zz", "/" + "a/" * 3000,
            "/v1/engines", "/v1/responses", "/v1/models/é".encode().decode("latin-1"), "/v1/adapters/%2e%2e", "/.git/config", "/index.html/../x",
        ])
        head = self.server.head("GET", "PATH", None).replace(b"PATH", path.encode("latin-1"))
        return Case("path", [head], {400, 403, 404, 405, 414}, silent=path == "*")

    def method(self):
        method = self.draws.choice(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "GET"])
        path = self.draws.choice(POSTS)
        # OPTIONS is what a browser asks before; the answer allows nothing.
        statuses = {200, 204, 405} if method == "OPTIONS" else {400, 404, 405}
        return Case("method", [self.server.head(method, path, None)], statuses, silent=method == "CONNECT")

    def adapters(self):
        body = {"name": self.draws.choice(["a", "", "../x", self.model, 7]), "path": self.draws.choice(["/etc", "../..", "", 7, "a\x00b", "/proc/self/fd/0"])}
        return Case("adapters", [self.message("/v1/adapters", json.dumps(body).encode())], {400, 403, 404, 409})

    # Time.

    def slow(self):
        """A body that comes byte by byte: it is answered when it is whole."""
        message = self.message(TEXT, json.dumps(self.valid(TEXT)).encode())
        size = self.draws.choice([7, 40])
        return Case("slow", [message[at : at + size] for at in range(0, len(message), size)], {200, 429})

    def never_ends(self):
        """A body that does not come in full and is given up by who sends it."""
        message = self.message(CHAT, json.dumps(self.valid(CHAT)).encode())
        return Case("never ends", [message[: self.draws.randrange(1, len(message))]], {400, 408}, silent=True, then="end")

    def hangs_up(self):
        body = self.valid(self.draws.choice([CHAT, TEXT]))
        path = CHAT if "messages" in body else TEXT
        body.update({"max_tokens": 200, "min_tokens": 200, "stream": self.draws.random() < 0.7})
        return Case("hangs up", [self.message(path, json.dumps(body).encode())], set(), silent=True, then="hang up")

    def many_at_once(self):
        """Requests one after another on a connection, the last of them broken."""
        good = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        return Case("one after another", [good * self.draws.randint(1, 20) + self.draws.randbytes(50) + b"\r\n\r\n"], {200})

    def cases(self):
        kinds = [
            (self.wrong_type, 20), (self.outside, 15), (self.unknown_field, 4), (self.missing_field, 2), (self.cut, 6),
            (self.mutated, 10), (self.noise, 3), (self.not_utf8, 4), (self.surrogate, 1), (self.nul, 2), (self.nested, 3),
            (self.nested_schema, 2), (self.pattern, 1), (self.number, 6), (self.twice, 3), (self.no_object, 3), (self.large, 1), (self.huge_text, 0.3), (self.content_type, 3),
            (self.encoded, 2), (self.framing, 5), (self.both_lengths, 2), (self.chunks, 3), (self.overlong, 3),
            (self.bad_header, 4), (self.host, 4), (self.first_line, 4), (self.path, 5), (self.method, 4), (self.adapters, 2),
            (self.slow, 1), (self.never_ends, 3), (self.hangs_up, 4), (self.many_at_once, 1),
        ]  # fmt: skip
        only = self.options.only
        kinds = [(make, weight) for make, weight in kinds if not only or make.__name__ in only]
        makers, weights = zip(*kinds)
        return [self.draws.choices(makers, weights)[0]() for _ in range(self.options.requests)]

    def fault(self, case, what):
        self.counts["FAULT"] += 1
        if len(self.faults) < 200:
            sent = b"".join(case.pieces)
            shown = sent if len(sent) < 700 else sent[:400] + b" ... " + sent[-200:]
            self.faults.append({"kind": case.kind, "what": what, "sent": shown.decode("latin-1")})

    async def send(self, case):
        reader, writer = await self.server.connect()
        try:
            try:
                for number, piece in enumerate(case.pieces):
                    if number:
                        await asyncio.sleep(0.01)
                    writer.write(piece)
                    await writer.drain()
                if case.then == "end":
                    writer.write_eof()
            except OSError:
                pass  # Refused before it was whole; what was answered may still be there.
            if case.then == "hang up":
                await asyncio.sleep(random.random() * 0.1)
                writer.transport.abort()
                return None
            response = await wire.read_head(reader, writer)
            return response.status, response.headers, b"" if case.kind == "one after another" else await response.body()
        finally:
            writer.close()

    async def check(self, case):
        kind = case.kind.split(":")[0]
        try:
            found = await asyncio.wait_for(self.send(case), 60)
        except (OSError, wire.Broken, asyncio.IncompleteReadError) as error:
            self.counts[f"{kind}: no answer"] += 1
            if not case.silent:
                self.fault(case, f"no answer: {type(error).__name__}")
            return
        except asyncio.TimeoutError:
            self.fault(case, "no end within a minute")
            return
        if found is None:
            self.counts[f"{kind}: left"] += 1
            return
        status, headers, body = found
        self.counts[f"{kind}: {status}"] += 1
        if status not in case.statuses:
            self.fault(case, f"status {status}, expected {sorted(case.statuses)}: {body[:300]!r}")
        elif "access-control-allow-origin" in headers:
            self.fault(case, "another origin is let in")
        elif status >= 400 and body:
            self.form(case, status, headers, body)

    def form(self, case, status, headers, body):
        """Errors are OpenAI's, and say nothing of the machine."""
        if not headers.get("content-type", "").startswith("application/json"):
            self.fault(case, f"an error of type {headers.get('content-type')}")
            return
        try:
            error = json.loads(body)["error"]
            good = set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            self.fault(case, f"an error of another form: {body[:300]!r}")
        elif any(word in error["message"] for word in self.options.secret):
            self.fault(case, f"says too much: {error['message'][:300]}")

    async def run(self, pid):
        cases = self.cases()
        tenth = len(cases) // 10
        await self.part(cases[:tenth])
        before = wire.resident(pid)
        async with wire.Watch(pid) as watch:
            await self.part(cases[tenth:])
        if watch.peak() > before + MOST_MIB:
            self.faults.append({"kind": "memory", "what": f"{watch.peak():.0f} MiB at times"})
        await self.at_rest()
        after = wire.resident(pid)
        if after - before > max(LEAK_MIB, LEAK_PART * before):
            self.faults.append({"kind": "memory", "what": f"{before:.0f} MiB after a tenth, {after:.0f} MiB at the end"})
        return {"after_a_tenth": before, "at_the_end": after, "peak": watch.peak()}

    async def part(self, cases):
        places = asyncio.Semaphore(self.options.at_once)

        async def one(case):
            async with places:
                await self.check(case)

        await asyncio.gather(*(one(case) for case in cases))

    async def at_rest(self):
        """Nothing runs or is held, and the server still answers."""
        held = ("glmtune_requests_running", "glmtune_requests_waiting", "glmtune_cache_used_tokens")
        for _ in range(60):
            found = await self.server.metrics()
            if not any(found[name] for name in held):
                break
            await asyncio.sleep(1)
        else:
            self.faults.append({"kind": "at rest", "what": str({name: found[name] for name in held})})
        for name, value in found.items():
            if name.startswith("glmtune_http_requests_total") and 'status="5' in name and value:
                self.faults.append({"kind": "metrics", "what": f"{name} {value:g}"})
        for path in POSTS:
            status, _, body = await self.server.ask("POST", path, self.valid(path))
            if status != 200:
                self.faults.append({"kind": "at the end", "what": f"{path}: {status} {body[:300]!r}"})


async def measure(options, started):
    server = wire.Server(started.url)
    _, _, body = await server.ask("GET", "/v1/models")
    fuzz = Fuzz(server, json.loads(body)["data"][0]["id"], options)
    for path in POSTS:
        status, _, body = await server.ask("POST", path, fuzz.valid(path))
        if status != 200:
            raise SystemExit(f"{path} does not answer: {status} {body!r}")
    memory = await fuzz.run(started.process.pid)
    counts = dict(sorted(fuzz.counts.items()))
    return {"requests": options.requests, "seed": options.seed, "memory_mib": memory, "counts": counts}, fuzz.faults


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--at_once", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="kinds of requests, by the names of their functions")
    parser.add_argument("--secret", nargs="*", default=["/root", "/home", "panicked", ".rs:"], help="what no error says")
    parser.add_argument("--work_dir", default="fuzz", help="folder for the log and the results")
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
    faults += [{"kind": "log", "what": line} for line in started.panics()]
    if status != 0:
        faults.append({"kind": "end", "what": f"the server ended with status {status}"})
    result["faults"] = faults
    (work / "fuzz.json").write_text(json.dumps(result, indent=1))
    print(json.dumps({name: value for name, value in result.items() if name != "faults"}, indent=1))
    for fault in faults[:20]:
        print(f"FAULT {fault['kind']}: {fault['what'][:300]}", file=sys.stderr)
    print(f"{len(faults)} faults; all in {work / 'fuzz.json'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
