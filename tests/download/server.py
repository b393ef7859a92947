"""A real HTTP server on loopback that serves the parts of an archive, and can misbehave in each way that was seen."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

PREFIX = "/Dataset.tar.gz.part"
SUFFIXES = ("aa", "ab", "ac")


class PartServer:
    """Serves ``files`` by path and remembers in ``asked`` each path with its ``Range``."""

    def __init__(self, http: HTTPServer) -> None:
        http.clear()
        http.expect_request(re.compile("")).respond_with_handler(self._answer)
        self.root = f"http://127.0.0.1:{http.port}"
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut: Counter[str] = Counter()  # how many more answers end in the middle
        self.busy: Counter[str] = Counter()  # how many more are 503
        self.stuck: set[str] = set()  # half of it, and then nothing until `end`
        self.ranges = True
        self.etags = False
        self.end, self.reached = threading.Event(), threading.Event()  # the second: a stuck answer has sent its half

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def _answer(self, request: Request) -> Response:
        path = request.path
        self.asked.append((path, request.headers.get("Range")))
        if self.busy[path] > 0:
            self.busy[path] -= 1
            return Response(status=503)
        if path not in self.files:
            return Response(status=404)
        content, response = self.files[path], Response(self.files[path])
        if self.etags:
            response.set_etag(hashlib.sha256(content).hexdigest())
        if self.ranges:
            response.make_conditional(request.environ, accept_ranges=True, complete_length=len(content))
        if response.status_code == 416:
            return response
        first = 0 if response.status_code == 200 else int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = content[first:]
        if self.cut[path] > 0:
            self.cut[path] -= 1
            return _claiming(response, iter([body[: len(body) // 2]]), len(body))
        if path in self.stuck:
            return _claiming(response, self._half(body), len(body))
        return response

    def _half(self, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        self.reached.set()
        self.end.wait(60)


def _claiming(response: Response, body: Iterator[bytes], length: int) -> Response:
    return Response(body, response.status_code, {**response.headers, "Content-Length": str(length)})


def packed(folder: Path, name: str = "Dataset", *evil: tarfile.TarInfo) -> bytes:
    """The folder as a .tar.gz, with further members before it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in evil:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
        tar.add(folder, name)
    return buffer.getvalue()


def parts(archive: bytes, prefix: str = PREFIX, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, bytes]:
    size = -(-len(archive) // len(suffixes))
    return {prefix + suffix: archive[i * size : (i + 1) * size] for i, suffix in enumerate(suffixes)}
