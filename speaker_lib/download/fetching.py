"""Fetches a file over HTTP, and goes on in its middle after an interruption.  In: a URL.  Out: a file. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import queue
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..utils.errors import DownloadError

NETWORK, ARCHIVE, DISK = 3, 4, 5  # exit codes
TRIES = 5  # in vain, one after the other
SILENCE = 60  # seconds without a byte end a try
BLOCK = 2**20  # bytes


class FetchError(Exception):
    """A file that cannot be had: the middle of a sentence. ``status`` is the server's answer, if it gave one."""

    def __init__(self, problem: str, status: int | None = None, temporary: bool = False, code: int = NETWORK) -> None:
        super().__init__(problem)
        self.status, self.temporary, self.code = status, temporary, code


def fetch(url: str, path: Path, n_bytes: int | None = None) -> None:
    """Fetches ``url`` into ``path``, from where ``path.partial`` was left; a broken connection is tried again.

    Where ``n_bytes`` is given the caller also knows the file's hash, so that one mirror may go on where another stopped.
    Otherwise a file that has changed on the server is fetched anew.  Raises FetchError, and DownloadError if the disk is full.
    """
    partial = path.with_name(path.name + ".partial")
    most, tries, pause = _size(partial), 0, 1
    while not path.exists():
        try:
            _fetch_rest(url, partial, n_bytes)
            partial.replace(path)
            _tag(partial).unlink(missing_ok=True)
            return
        except FetchError as problem:
            if not problem.temporary:
                raise
            if _size(partial) > most:
                most, tries, pause = _size(partial), 0, 1
            tries += 1
            if tries == TRIES:
                raise
        time.sleep(pause)
        pause *= 2


def first_to_answer(urls: Iterable[str], seconds: float) -> str | None:
    """The first of some URLs whose server answers within that time, or None. All are asked at once."""
    urls, answers = list(urls), queue.Queue()

    def ask(url: str) -> None:
        head = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(head, timeout=seconds):
                answers.put(url)
        except (OSError, http.client.HTTPException):
            answers.put(None)

    for url in urls:  # looking up a name has no time limit, so a thread that waits for it is left behind
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    end = time.monotonic() + seconds
    with contextlib.suppress(queue.Empty):
        for _ in urls:
            if url := answers.get(timeout=max(0.0, end - time.monotonic())):
                return url
    return None


def _fetch_rest(url: str, partial: Path, n_bytes: int | None) -> None:
    have = _size(partial)
    if n_bytes is not None and have == n_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    known = _read_tag(partial)
    if have and n_bytes is None and known.get("validator"):
        headers["If-Range"] = known["validator"]
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                if _total(error.headers) == have:
                    return  # all of it was here already
                _begin_anew(url, partial, "it has changed")
                raise FetchError(f"{url} has changed", error.code, temporary=True) from error
            passing = error.code in (408, 429) or error.code >= 500
            raise FetchError(f"{url} cannot be had: the server answered {error.code}", error.code, passing) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no URL, after a redirection for example
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"{url} cannot be reached ({_told(reason)})", temporary=not isinstance(error, ValueError)) from error
    with response:
        total = _total(response.headers)
        if n_bytes is not None and total not in (None, n_bytes):
            raise FetchError(f"{url} has {total:,} bytes, not {n_bytes:,}", code=ARCHIVE)
        if have and response.status == 206 and n_bytes is None and total != (known.get("total") or total):
            _begin_anew(url, partial, "it has changed")
            raise FetchError(f"{url} has changed", temporary=True)
        if have and response.status != 206:  # the answer is the whole file
            why = "it has changed, or the server" if "If-Range" in headers else "the server"
            _begin_anew(url, partial, f"{why} cannot go on in its middle")
            have = 0
        if not have:
            with _disk_errors(partial):
                partial.write_bytes(b"")
                _tag(partial).write_text(json.dumps({"validator": _validator(response.headers), "total": total}))
        _receive(response, partial, have, total, url)


def _receive(response: http.client.HTTPResponse, partial: Path, have: int, total: int | None, url: str) -> None:
    """Appends what arrives; what was received outlives a kill."""
    with partial.open("ab", buffering=0) as file, _bar(total, have, url.rpartition("/")[2]) as advance:
        while True:
            try:
                block = response.read1(BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise FetchError(f"{url} did not arrive whole ({_told(error)})", temporary=True) from error
            if not block:
                break
            with _disk_errors(partial):
                file.write(block)
            have += len(block)
            advance(len(block))
    if total is not None and have != total:
        raise FetchError(f"{url} did not arrive whole ({have:,} of {total:,} bytes)", temporary=True)


@contextlib.contextmanager
def _bar(total: int | None, have: int, name: str) -> Iterator[Callable[[int], object]]:
    """A progress bar in a terminal or notebook; without tqdm there is none."""
    try:
        from ..utils.progress import in_notebook, progress_bar
    except ImportError:
        yield lambda n: None
        return
    hidden = not (sys.stderr.isatty() or in_notebook())
    with progress_bar(total, f"Fetch {name}", "B", initial=have, unit_scale=True, disable=hidden) as bar:
        yield bar.update


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, f"{path} could not be written") from error


def disk_error(error: OSError, what: str) -> DownloadError:
    """The sentence for a disk that does not take a file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(f"the disk is full, {what}: free some space there, then run this again.", DISK)
    return DownloadError(f"{what} ({error.strerror or error}): mend that, or name a folder on another disk.", DISK)


def _begin_anew(url: str, partial: Path, why: str) -> None:
    print(f"{url} begins anew, because {why}.", file=sys.stderr)
    partial.unlink(missing_ok=True)
    _tag(partial).unlink(missing_ok=True)


def _total(headers: http.client.HTTPMessage) -> int | None:
    """The bytes of the whole file, by ``Content-Range: bytes 5-9/10`` or ``bytes */10``, else by ``Content-Length``."""
    if found := re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", headers.get("Content-Range", "")):
        return int(found[1])
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() and "Content-Range" not in headers else None


def _validator(headers: http.client.HTTPMessage) -> str | None:
    """What `If-Range` may carry: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _tag(partial: Path) -> Path:
    return partial.with_name(partial.name + ".tag")


def _read_tag(partial: Path) -> dict:
    try:
        known = json.loads(_tag(partial).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _told(reason: object) -> str:
    return " ".join(str(getattr(reason, "strerror", None) or reason or type(reason).__name__).split())[:120]
