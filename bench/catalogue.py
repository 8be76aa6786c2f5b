"""What the upstream offers: pages of any number of files, real wheels, and a graph of packages that need each other.

Everything follows from names alone, so two runs offer the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"

GRAPH_ROOT: Final = "graph-000"

_MADE_UP = re.compile(r"p(\d+)-[a-z0-9-]+")
_BLOCK: Final = 1_000_000
_PYTHONS: Final = ("cp310", "cp311", "cp312", "cp313", "cp314")
_PLATFORMS: Final = (
    "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "manylinux_2_17_aarch64.manylinux2014_aarch64",
    "musllinux_1_2_x86_64",
    "musllinux_1_2_aarch64",
    "macosx_11_0_arm64",
    "macosx_10_12_x86_64",
    "win_amd64",
    "win32",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a page lists it. `size` in bytes; `metadata` is the SHA-256 of a wheel's core metadata."""

    filename: str
    sha256: str
    size: int
    metadata: str | None

    @property
    def path(self) -> str:
        """Where it lies at the upstream: below its digest, as public indexes do it."""
        digest = hashlib.blake2b(self.filename.encode(), digest_size=32).hexdigest()
        return f"/files/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{self.filename}"


@dataclass(frozen=True, slots=True)
class Page:
    """A project and its files, oldest first."""

    name: str
    entries: tuple[Entry, ...]

    def as_json(self, base: str) -> bytes:
        """`base` is what file links begin with."""
        files = [_record(entry, base) for entry in self.entries]
        versions = list(dict.fromkeys(_version(entry.filename) for entry in self.entries))
        page = {"files": files, "meta": {"_last-serial": 1, "api-version": "1.3"}, "name": self.name}
        return json.dumps({**page, "versions": versions}).encode()

    def as_html(self, base: str) -> bytes:
        links = "".join(_anchor(entry, base) for entry in self.entries)
        head = '<meta name="pypi:repository-version" content="1.3">'
        return (
            f"<!DOCTYPE html>\n<html>\n  <head>\n    {head}\n    <title>Links for {self.name}</title>\n  </head>\n"
            f"  <body>\n    <h1>Links for {self.name}</h1>\n{links}  </body>\n</html>\n"
        ).encode()


def _record(entry: Entry, base: str) -> dict[str, object]:
    metadata = {"sha256": entry.metadata} if entry.metadata else False
    return {
        "core-metadata": metadata,
        "data-dist-info-metadata": metadata,
        "filename": entry.filename,
        "hashes": {"sha256": entry.sha256},
        "provenance": None,
        "requires-python": ">=3.9",
        "size": entry.size,
        "upload-time": "2025-03-04T05:06:07.890123Z",
        "url": base + entry.path,
        "yanked": False,
    }


def _anchor(entry: Entry, base: str) -> str:
    told = f"sha256={entry.metadata}"
    metadata = f' data-dist-info-metadata="{told}" data-core-metadata="{told}"' if entry.metadata else ""
    python = html.escape(">=3.9")
    href = f"{base}{entry.path}#sha256={entry.sha256}"
    return f'<a href="{href}" data-requires-python="{python}"{metadata}>{entry.filename}</a><br />\n'


def _version(filename: str) -> str:
    return filename.removesuffix(".tar.gz").split("-")[1]


# ---------------------------------------------------------------------- files that only stand on pages


def made_up(name: str) -> Page | None:
    """The page of `p{count}-{anything}`, with that many files of which none can be fetched; None for other names."""
    found = _MADE_UP.fullmatch(name)
    return Page(name, tuple(_listed(name, int(found[1])))) if found else None


def _listed(name: str, count: int) -> Iterator[Entry]:
    """An sdist and up to 40 wheels a release; small projects have one wheel."""
    tags = [f"{python}-{python}-{platform}" for python in _PYTHONS for platform in _PLATFORMS]
    wheels = 1 if count < 2 * len(tags) else min(len(tags), count // 20)
    stem = name.replace("-", "_")
    for at in range(count):
        release, nth = divmod(at, wheels + 1)
        version = f"1.{release}.0"
        if nth == 0:
            filename = f"{stem}-{version}.tar.gz"
        else:
            filename = f"{stem}-{version}-{tags[nth - 1] if wheels > 1 else 'py3-none-any'}.whl"
        digest = hashlib.sha256(filename.encode()).hexdigest()
        metadata = hashlib.sha256(digest.encode()).hexdigest() if nth else None
        yield Entry(filename, digest, 10_000 + int(digest[:5], 16), metadata)


# ---------------------------------------------------------------------- files that are there


def noise(size: int, seed: str) -> Iterator[bytes]:
    """Bytes that no compression makes fewer, in blocks; each block differs from the others."""
    block = hashlib.shake_256(seed.encode()).digest(min(size, _BLOCK))
    for at in range(0, size, _BLOCK):
        part = at.to_bytes(8, "big") + block[8:]
        yield part[: size - at]


def write_wheel(folder: Path, name: str, version: str, *, size: int, requires: Iterable[str] = ()) -> Entry:
    """A real wheel of about `size` bytes, and its core metadata beside it."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    wanted = "".join(f"Requires-Dist: {one}\n" for one in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}".encode()
    tags = b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    payload = b"".join(noise(size, name))
    members = {
        f"{stem}/__init__.py": f'"""Package {name}."""\n'.encode(),
        f"{stem}/payload.bin": payload,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": tags,
    }
    record = "".join(f"{path},sha256={_urlsafe(data)},{len(data)}\n" for path, data in members.items())
    path = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member, data in {**members, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(zipfile.ZipInfo(member, (2025, 1, 1, 0, 0, 0)), data)
    path.with_name(f"{path.name}.metadata").write_bytes(metadata)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(path.name, digest, path.stat().st_size, hashlib.sha256(metadata).hexdigest())


def _urlsafe(data: bytes) -> str:
    """A digest as RECORD has it (PEP 376)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def write_sized(folder: Path, name: str, size: int) -> Page:
    """A project of one real wheel."""
    return Page(name, (write_wheel(folder, name, "1.0", size=size),))


def write_graph(folder: Path, count: int) -> list[Page]:
    """Packages that need each other, all of them needed by the first; older releases stand on their pages alone."""
    pages = []
    for number in range(count):
        name = f"graph-{number:03}"
        needed = {n for n in (2 * number + 1, 2 * number + 2, 3 * number + 4) if n < count}
        requires = [f"graph-{n:03}>=1.5" for n in sorted(needed)]
        size = (3_000, 20_000, 60_000, 200_000, 800_000)[number % 5]
        newest = write_wheel(folder, name, "9.0", size=size, requires=requires)
        pages.append(Page(name, (*_listed(name, 120 if number % 5 == 0 else 12), newest)))
    return pages
