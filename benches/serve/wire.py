"""HTTP/1.1 for load and for mischief: requests over asyncio's streams, server-sent events as they come, and a server
that is started, watched and ended. Python's standard library alone."""

import asyncio
import json
import os
import pathlib
import re
import socket
import subprocess
import time
import urllib.parse

LARGEST_LINE = 1 << 22


class Broken(Exception):
    """The connection ended, or what came is no HTTP."""


class Response:
    """A head, and a body that is read when asked for."""

    def __init__(self, reader, writer, status, headers):
        self.reader, self.writer, self.status, self.headers = reader, writer, status, headers

    async def pieces(self):
        """The body as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                line = await self.reader.readline()
                if not line.endswith(b"\n"):
                    raise Broken("a body without an end")
                size = int(line.split(b";")[0], 16)
                piece = await self.reader.readexactly(size + 2)
                if size == 0:
                    return
                yield piece[:-2]
        elif "content-length" in self.headers:
            yield await self.reader.readexactly(int(self.headers["content-length"]))
        else:
            while piece := await self.reader.read(65536):
                yield piece

    async def body(self):
        try:
            return b"".join([piece async for piece in self.pieces()])
        except asyncio.IncompleteReadError as error:
            raise Broken("a body without an end") from error

    async def events(self):
        """The `data` of server-sent events, each with the time of its arrival."""
        held = b""
        try:
            async for piece in self.pieces():
                held += piece
                while (end := held.find(b"\n\n")) >= 0:
                    event, held = held[:end], held[end + 2 :]
                    data = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
                    if data:
                        yield time.perf_counter(), b"\n".join(data).decode()
        except asyncio.IncompleteReadError as error:
            raise Broken("a stream without an end") from error

    def close(self):
        self.writer.close()

    def abort(self):
        self.writer.transport.abort()


class Server:
    """Where a server listens."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80

    async def connect(self, receive_buffer=None):
        """Opens a connection; a small receive buffer makes the server wait early for one that does not read."""
        made = socket.socket()
        made.setblocking(False)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(made, (self.host, self.port))
            limit = {"limit": receive_buffer} if receive_buffer else {"limit": LARGEST_LINE}
            return await asyncio.open_connection(sock=made, **limit)
        except OSError:
            made.close()
            raise

    def head(self, method, path, length=None, headers=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Connection: close"]
        if length is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {length}"]
        return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode()

    async def send(self, method, path, body=None, headers=(), receive_buffer=None):
        """Sends a request and reads the head of the answer."""
        reader, writer = await self.connect(receive_buffer)
        try:
            payload = b"" if body is None else json.dumps(body).encode()
            writer.write(self.head(method, path, None if body is None else len(payload), headers) + payload)
            await writer.drain()
            return await read_head(reader, writer)
        except BaseException:
            writer.close()
            raise

    async def ask(self, method, path, body=None, headers=()):
        """A request and its whole answer: status, headers, body."""
        response = await self.send(method, path, body, headers)
        try:
            return response.status, response.headers, await response.body()
        finally:
            response.close()

    async def metrics(self):
        """What `/metrics` counts, by its lines' names."""
        status, _, body = await self.ask("GET", "/metrics")
        if status != 200:
            raise Broken(f"/metrics has status {status}")
        lines = (line.rsplit(" ", 1) for line in body.decode().splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in lines}


async def read_head(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Broken("no head of an answer") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    match = re.match(r"HTTP/1\.[01] (\d{3})", first)
    if not match:
        raise Broken("no HTTP in an answer")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return Response(reader, writer, int(match[1]), {name.lower(): value.strip() for name, value in pairs})


def resident(pid):
    """Memory of a process that is in use, in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Watch:
    """Samples a process's memory while something runs."""

    def __init__(self, pid, every=0.25):
        self.pid, self.every, self.samples = pid, every, []

    async def __aenter__(self):
        self.task = asyncio.create_task(self.sample()) if self.pid else None
        return self

    async def sample(self):
        while True:
            try:
                self.samples.append(resident(self.pid))
            except OSError:
                return
            await asyncio.sleep(self.every)

    async def __aexit__(self, *_):
        if self.task:
            self.task.cancel()

    def peak(self):
        return max(self.samples, default=0.0)

    def thirds(self):
        """The medians of the first and of the last third."""
        size = max(1, len(self.samples) // 3)
        return median(self.samples[:size]), median(self.samples[-size:])


class Started:
    """A server of ours: a command that is started here and ended here, and its log."""

    def __init__(self, command, log):
        self.log = pathlib.Path(log)
        with self.log.open("wb") as file:
            environment = {"GLMTUNE_LOG": "info", **os.environ}
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        self.url = None

    def wait(self, seconds=120):
        """Waits until the log says where it listens."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = re.search(r"listening on (http://\S+)", self.log.read_text(errors="replace"))
            if found:
                self.url = found[1]
                return self.url
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.end()
        raise SystemExit(f"the server did not start: see {self.log}")

    def end(self, seconds=45):
        """Ends it, and gives its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def panics(self):
        text = self.log.read_text(errors="replace")
        return [line for line in text.splitlines() if "panick" in line or "ended in a panic" in line]


def median(values):
    return quantile(values, 0.5)


def quantile(values, part):
    """The value below which a part of the values lies (the nearest one); `nan` of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")
