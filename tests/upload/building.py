"""Wheels and sdists for tests of uploads: sound ones, with whatever is to be wrong given by the test."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping

from isal import igzip

from pyproxy.upload.bounds import Bounds
from pyproxy.upload.examine import Examined, examine
from pyproxy.upload.refusal import UploadRefused
from tests.archives import Entry, forged

STEM = "foo_bar-1.0"
INFO = f"{STEM}.dist-info"
WHEEL = f"{STEM}-py3-none-any.whl"
SDIST = f"{STEM}.tar.gz"
METADATA = b"Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\nRequires-Python: >=3.9\n\nA description.\n"
TAGS = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
MODULE = ("foo_bar/__init__.py", b"x = 1\n")


def examined(content: bytes, filename: str = WHEEL, *, bounds: Bounds | None = None) -> Examined:
    return examine(io.BytesIO(content), filename, bounds=bounds)


def why_refused(act: Callable[[], object]) -> UploadRefused | None:
    """The refusal that this ends in, if it does; anything else that is raised passes through."""
    try:
        act()
    except UploadRefused as exc:
        return exc
    return None


def in_one_line(refused: UploadRefused | None) -> bool:
    """Whether a refusal, if it is one, is fit for a reason phrase."""
    return refused is None or (refused.reason.isprintable() and 5 < len(refused.reason) < 300)


# -- wheels


def digest(body: bytes, algorithm: str = "sha256") -> str:
    found = base64.urlsafe_b64encode(hashlib.new(algorithm, body).digest()).rstrip(b"=").decode()
    return f"{algorithm}={found}"


def record(
    files: Mapping[str, bytes], instead: Mapping[str, str] | None = None, *, own: str | None = f"{INFO}/RECORD"
) -> bytes:
    """A RECORD of the files; `instead` has other rows, by the last segments of their paths."""
    rows = [
        (instead or {}).get(path.rpartition("/")[2], f"{path},{digest(body)},{len(body)}")
        for path, body in files.items()
    ]
    return "".join(f"{row}\n" for row in [*rows, *([f"{own},,"] if own else [])] if row).encode()


def wheel_files(
    *more: tuple[str, bytes], info: str = INFO, metadata: bytes | None = METADATA, tags: bytes | None = TAGS
) -> dict[str, bytes]:
    """All files of a wheel but its RECORD."""
    files = dict([MODULE, *more])
    if metadata is not None:
        files[f"{info}/METADATA"] = metadata
    if tags is not None:
        files[f"{info}/WHEEL"] = tags
    return files


def zipped(
    files: Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]], *, comment: bytes = b""
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items() if isinstance(files, Mapping) else files:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            archive.writestr(info, body, compress_type=zipfile.ZIP_DEFLATED)
        archive.comment = comment
    return file.getvalue()


def wheel(*more: tuple[str, bytes], metadata: bytes | None = METADATA, rows: Mapping[str, str] | None = None) -> bytes:
    files = wheel_files(*more, metadata=metadata)
    return zipped({**files, f"{INFO}/RECORD": record(files, rows)})


def wheel_entries(*more: Entry) -> list[Entry]:
    """A sound wheel with more members, for `forged`; RECORD knows what they claim to be."""
    files = wheel_files() | {entry.name.decode("utf-8", "replace"): entry.body for entry in more}
    listed = {name: body for name, body in files.items() if not name.endswith("/")}
    return [
        *(Entry(name.encode(), body) for name, body in wheel_files().items()),
        *more,
        Entry(f"{INFO}/RECORD".encode(), record(listed), method=8),
    ]


def forged_wheel(*more: Entry) -> bytes:
    return forged(*wheel_entries(*more))


# -- sdists


def member(
    name: str, body: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(body), kind, link
    return info, body


PKG_INFO = member(f"{STEM}/PKG-INFO", METADATA)
SETUP = member(f"{STEM}/setup.py", b"import setuptools\n")


def tarred(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for info, body in members:
            archive.addfile(info, io.BytesIO(body))
    return file.getvalue()


def packed(tar: bytes) -> bytes:
    return igzip.compress(tar, 2, mtime=0)  # a bomb in a hundredth of the time of gzip


def sdist(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A sound sdist with these members in front."""
    return packed(tarred(*members, PKG_INFO, SETUP, form=form))


def header(name: bytes, nbytes: int = 0, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A ustar header by hand; `fields` replaces link, magic, prefix, numbers or the rest."""
    say = {
        "link": b"",
        "magic": b"ustar\x0000",
        "prefix": b"",
        "size": b"%011o\0" % nbytes,
        "rest": b"",
        "pad": b"",
    } | fields
    block = (
        name.ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + say["size"].ljust(12, b"\0")
        + b"00000000000\0"
        + b" " * 8
        + kind
        + say["link"].ljust(100, b"\0")
        + say["magic"].ljust(8, b"\0")
        + bytes(80)
        + say["prefix"].ljust(155, b"\0")
        + say["rest"]
    ).ljust(512, b"\0")
    return summed(block)


def summed(block: bytes) -> bytes:
    """The header block with its checksum put right."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def block_of(body: bytes) -> bytes:
    return body.ljust(-(-len(body) // 512) * 512, b"\0")


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    """A pax header with these records."""
    body = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length += 1
        body += str(length).encode() + rest
    return header(b"PaxHeader", len(body), kind) + block_of(body)


def raw_file(name: bytes, body: bytes = b"", **fields: bytes) -> bytes:
    return header(name, len(body), **fields) + block_of(body)


SOUND_TAR = raw_file(f"{STEM}/PKG-INFO".encode(), METADATA)
TAR_END = bytes(1024)


def raw_sdist(*parts: bytes, end: bytes = TAR_END) -> bytes:
    """An sdist of blocks by hand, in front of a sound PKG-INFO."""
    return packed(b"".join(parts) + SOUND_TAR + end)
