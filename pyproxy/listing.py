"""The list of all projects, tens of megabytes: read and rendered in a process of its own, which hurts nobody else.

`python -m pyproxy.listing parse SOURCE NAMES CONTENT_TYPE` and `… render FOLDER NAMES…` (which reads the
sieves of each file of names on stdin) are that process; `parse_list`
and `render_list` start it. A file of names holds one display name a line, each project once, by normalised name.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import heapq
import itertools
import mmap
import os
import resource
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias, TypeVar

import msgspec
import zstandard
from isal import isal_zlib

import pyproxy
from pyproxy.encoding import Coding
from pyproxy.errors import BadName, PageUnreadable, StoreFull, StoreTrouble
from pyproxy.model import ProjectName, as_project, normalised
from pyproxy.selection import Sieve, admitting
from pyproxy.simple_api.negotiate import Kind
from pyproxy.simple_api.project_list import project_names

T = TypeVar("T")

_Entry: TypeAlias = tuple[ProjectName, str]
"""A project and its display name."""

MAX_LIST = 128 * 1024 * 1024
"""Bytes of a list that is read; the longest known is some 45 MB."""

MAX_PROJECTS = 5_000_000

SHORT = 16
"""Digits of its digest that a list's file is named by."""

# Of the process. A list of 750,000 projects (42 MB) takes 250 MB and 4 s.
_MEMORY = 1024**3
_CPU_SECONDS = 120
_NICE = 10

_UNREADABLE = 65
_IO_TROUBLE = 74


class RenderedList(msgspec.Struct, frozen=True):
    """A folder of bodies: how many projects they name, and the SHA-256 of the JSON and of the HTML one."""

    projects: int
    json: str
    html: str


class _ParsedList(msgspec.Struct, frozen=True):
    projects: int
    digest: str


def body_in(folder: Path, kind: Kind, coding: Coding) -> Path:
    """Which file of a rendered folder is the body of this kind in this coding. HTML and TEXT are the same bytes."""
    name = "json" if kind is Kind.JSON else "html"
    return folder / (name if coding == "identity" else f"{name}.{coding}")


async def parse_list(source: Path, names: Path, content_type: str, *, timeout: float = 60) -> str:
    """Writes the names of a remote's list to the file `names`, whole or not at all; gives that file's SHA-256.

    Names that no project can have are left out. Takes 4 s for 750,000 projects. Raises PageUnreadable where the list
    cannot be read or takes more than `timeout` seconds, StoreTrouble where the file cannot be written.
    """
    answer = await _run("parse", str(source), str(names), content_type, timeout=timeout, target=names)
    return msgspec.json.decode(answer, type=_ParsedList).digest


def names_file(folder: Path, remote: str, digest: str) -> Path:
    """Where the names of a remote's list with this digest lie."""
    return folder / f"{remote}.{digest[:SHORT]}.names"


def listed(names: Path, projects: Iterable[ProjectName]) -> set[ProjectName]:
    """Those of the projects that a file of names has; none where the file is not there. 30 µs each. Blocking."""
    try:
        file = names.open("rb")
    except FileNotFoundError:
        return set()
    with file:
        if not os.fstat(file.fileno()).st_size:
            return set()  # nothing can be mapped of it
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
            return {project for project in projects if _has_line(lines, project)}


def _has_line(lines: mmap.mmap, project: ProjectName) -> bool:
    """Bisects: the lines are sorted by what they are once normalised."""
    low, high = 0, len(lines)
    while low < high:
        begin = lines.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = lines.find(b"\n", begin)
        name = normalised(lines[begin:end].decode("ascii"))
        if name == project:
            return True
        low, high = (end + 1, high) if name < project else (low, begin)
    return False


async def render_list(
    names: Sequence[Path], folder: Path, *, sieves: Sequence[tuple[Sieve, ...]] = (), timeout: float = 60
) -> RenderedList:
    """Writes the union of several files of names, as every body that is served, to a new folder (see `body_in`).

    A name that several files spell is spelled as the first does; what does not pass the sieves of a file is left out.
    The folder is there as a whole or not at all. Raises PageUnreadable where that takes more than `timeout` seconds,
    StoreTrouble where it cannot be written.
    """
    told = msgspec.json.encode(sieves or [()] * len(names))
    answer = await _run("render", str(folder), *map(str, names), told=told, timeout=timeout, target=folder)
    return msgspec.json.decode(answer, type=RenderedList)


async def _run(*arguments: str, told: bytes = b"", timeout: float, target: Path) -> bytes:
    """What the process prints that is `told` this on stdin. It never outlives the call, nor what it left half done."""
    # -P: nothing is imported from the folder where the daemon happens to stand.
    found = os.pathsep.join(filter(None, (str(Path(pyproxy.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "pyproxy.listing", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": found},
    )
    try:
        async with asyncio.timeout(timeout):
            answer, complaint = await child.communicate(told)
    except TimeoutError as exc:
        raise PageUnreadable(f"the list of projects takes more than {timeout:g} s to read") from exc
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        _remove(_part(target, child.pid))
    if child.returncode == 0:
        return answer
    raise _failure(child.returncode, complaint.decode(errors="replace").strip())


def _failure(status: int | None, complaint: str) -> PageUnreadable | StoreTrouble:
    if status == _UNREADABLE:
        return PageUnreadable(complaint)
    if status == _IO_TROUBLE:
        number, _, words = complaint.partition(" ")
        full = number in {str(errno.ENOSPC), str(errno.EDQUOT)}
        return (StoreFull if full else StoreTrouble)(f"the list of projects cannot be stored: {words}")
    # Killed by the limits on itself, or by whoever watches over the machine's memory.
    return PageUnreadable(f"the list of projects takes more time or memory than it may (status {status})")


def _part(target: Path, pid: int) -> Path:
    """Where the process with this id writes until all is there."""
    return target.with_name(f"{target.name}.part-{pid}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _parse(source: Path, names: Path, content_type: str) -> _ParsedList:
    if source.stat().st_size > MAX_LIST:
        raise PageUnreadable(f"the list of projects is larger than {MAX_LIST} bytes")
    body = source.read_bytes()
    found: dict[ProjectName, str] = {}
    for name in project_names(body, content_type):
        try:
            found.setdefault(as_project(name), name)
        except BadName:
            continue
        if len(found) > MAX_PROJECTS:
            raise PageUnreadable(f"it has more than {MAX_PROJECTS} projects")
    digest = hashlib.sha256()
    part = _part(names, os.getpid())
    with part.open("xb") as file:
        for lines in _batches(f"{found[project]}\n" for project in sorted(found)):
            chunk = "".join(lines).encode()
            digest.update(chunk)
            file.write(chunk)
        _sync(file)
    part.replace(names)
    return _ParsedList(len(found), digest.hexdigest())


class _Body:
    """One serialisation on its way to its three files."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._gzip = isal_zlib.compressobj(level=1, wbits=31)
        self._zstd = zstandard.ZstdCompressor(level=1).compressobj()
        self._digest = hashlib.sha256()
        self._files = [body_in(folder, kind, coding).open("xb") for coding in ("identity", "gzip", "zstd")]

    def write(self, text: str) -> None:
        chunk = text.encode()
        self._digest.update(chunk)
        plain, gzip, zstd = self._files
        plain.write(chunk)
        gzip.write(self._gzip.compress(chunk))
        zstd.write(self._zstd.compress(chunk))

    def close(self) -> str:
        """The SHA-256 of the plain body, which is on disk with the others."""
        _, gzip, zstd = self._files
        gzip.write(self._gzip.flush())
        zstd.write(self._zstd.flush())
        for file in self._files:
            _sync(file)
            file.close()
        return self._digest.hexdigest()


def _render(folder: Path, names: Sequence[Path], sieves: Sequence[tuple[Sieve, ...]]) -> RenderedList:
    part = _part(folder, os.getpid())
    part.mkdir(mode=0o700)
    json, html = _Body(part, Kind.JSON), _Body(part, Kind.HTML)
    json.write('{"meta":{"api-version":"1.4"},"projects":[')
    html.write(
        '<!DOCTYPE html>\n<html lang="en">\n  <head>\n    <meta charset="utf-8">\n'
        '    <meta name="pypi:repository-version" content="1.4">\n    <title>Simple index</title>\n'
        "  </head>\n  <body>\n"
    )
    count = 0
    for batch in _batches(_union(map(_entries, names, sieves))):
        # Nothing to escape: what `as_project` lets through is ASCII letters, digits and "._-".
        json.write(("," if count else "") + ",".join([f'{{"name":"{display}"}}' for _, display in batch]))
        html.write("".join([f'    <a href="{project}/">{display}</a><br>\n' for project, display in batch]))
        count += len(batch)
    json.write("]}")
    html.write("  </body>\n</html>\n")
    rendered = RenderedList(count, json.close(), html.close())
    part.rename(folder)
    return rendered


def _union(lists: Iterable[Iterator[_Entry]]) -> Iterator[_Entry]:
    """Projects and their display names, by project. `merge` is stable, so the first file's spelling comes first."""
    previous = None
    for project, display in heapq.merge(*lists, key=lambda entry: entry[0]):
        if project != previous:
            yield project, display
        previous = project


def _entries(names: Path, sieves: tuple[Sieve, ...]) -> Iterator[_Entry]:
    admits = admitting(sieves)
    with names.open(encoding="ascii") as file:
        for line in file:
            display = line.rstrip("\n")
            project = as_project(display)
            if not sieves or admits(project):
                yield project, display


def _batches(items: Iterable[T], size: int = 10_000) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _answer(arguments: Sequence[str]) -> msgspec.Struct:
    match arguments:
        case ["parse", source, names, content_type]:
            return _parse(Path(source), Path(names), content_type)
        case ["render", folder, *names]:
            sieves = msgspec.json.decode(sys.stdin.buffer.read(), type=list[tuple[Sieve, ...]])
            return _render(Path(folder), [Path(name) for name in names], sieves)
    raise PageUnreadable("usage: parse SOURCE NAMES CONTENT_TYPE | render FOLDER NAMES…")


def _limit(kind: int, most: int) -> None:
    """No more than this, and no more than before: a limit above the hard one would be refused."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(arguments: Sequence[str]) -> int:
    """The process: 0 and an answer in JSON on stdout, or one line on stderr and what kind of line as status."""
    os.nice(_NICE)
    _limit(resource.RLIMIT_AS, _MEMORY)
    _limit(resource.RLIMIT_CPU, _CPU_SECONDS)
    try:
        answer = _answer(arguments)
    except (PageUnreadable, BadName) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - a process answers by its streams
        return _UNREADABLE
    except MemoryError:
        print("it takes more memory than it may", file=sys.stderr)  # noqa: T201
        return _UNREADABLE
    except OSError as exc:
        print(exc.errno, exc.strerror, file=sys.stderr)  # noqa: T201
        return _IO_TROUBLE
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
