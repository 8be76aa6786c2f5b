"""The whole examination: whatever comes is taken or refused in one line, in bounded time, and nothing is written."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyproxy.upload import UploadRefused, examine
from pyproxy.upload.bounds import Bounds
from tests.upload.building import METADATA, SDIST, STEM, WHEEL, in_one_line, sdist, wheel, why_refused, zipped

ZIP = f"{STEM}.zip"
SOUND = {WHEEL: wheel(), SDIST: sdist(), ZIP: zipped({f"{STEM}/PKG-INFO": METADATA})}
NAMES = st.sampled_from([WHEEL, SDIST, ZIP])


def outcome(content: bytes, filename: str) -> str:
    """What became of it: taken, or why not. Nothing else may happen."""
    bounds = Bounds(inflated=8 << 20, seconds=5)
    refused = why_refused(lambda: examine(io.BytesIO(content), filename, bounds=bounds))
    if refused is None:
        return "taken"
    assert in_one_line(refused)
    assert refused.status in {400, 413}
    assert refused.reason == str(refused)
    return refused.reason


@pytest.mark.parametrize("filename", [WHEEL, SDIST, ZIP])
def test_examine__sound__is_taken(filename: str) -> None:
    assert outcome(SOUND[filename], filename) == "taken"


@pytest.mark.parametrize("filename", [WHEEL, SDIST, ZIP])
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"<!DOCTYPE html>\n<html></html>", b"PK\5\6" + bytes(18), b"\x1f\x8b\x08"]
)
def test_examine__no_archive__is_refused(filename: str, content: bytes) -> None:
    assert outcome(content, filename) != "taken"


@pytest.mark.parametrize(("filename", "content"), [(WHEEL, SOUND[SDIST]), (SDIST, SOUND[WHEEL]), (ZIP, SOUND[SDIST])])
def test_examine__archive_of_another_kind__is_refused(filename: str, content: bytes) -> None:
    assert outcome(content, filename).startswith(("not a zip archive", "not a gzip archive"))


@pytest.mark.parametrize("filename", [WHEEL, SDIST])
def test_examine__cut_anywhere__is_refused(filename: str) -> None:
    for end in range(0, len(SOUND[filename]), 3):
        assert outcome(SOUND[filename][:end], filename) != "taken"


@given(NAMES | st.text(max_size=40), st.binary(max_size=500))
@example(WHEEL, b"PK\5\6" + bytes(18))
def test_examine__any_bytes_of_any_name__are_taken_or_refused(filename: str, content: bytes) -> None:
    outcome(content, filename)


@settings(max_examples=200)
@given(NAMES, st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4))
def test_examine__altered__is_taken_or_refused(filename: str, changes: list[tuple[float, bytes]]) -> None:
    content = bytearray(SOUND[filename])
    for where, new in changes:
        at = int(where * len(content))
        content[at : at + len(new)] = new
    outcome(bytes(content), filename)


@pytest.mark.parametrize("filename", [WHEEL, SDIST])
def test_examine__time__is_bounded(filename: str) -> None:
    ticks = iter(range(10_000))
    with pytest.raises(UploadRefused, match="takes more than 2 seconds to examine") as refused:
        examine(io.BytesIO(SOUND[filename]), filename, bounds=Bounds(seconds=2), clock=lambda: next(ticks))
    assert refused.value.status == 413


def test_examine__wheel_of_very_many_members__is_done_in_time() -> None:
    content = wheel(*((f"foo_bar/some/folder/module_{number}.py", b"") for number in range(5000)))
    begun = time.monotonic()
    assert outcome(content, WHEEL) == "taken"
    assert time.monotonic() - begun < 2


def test_examine__archive_on_disk_that_cannot_be_read__is_no_refusal() -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        examine(Broken(SOUND[WHEEL]), WHEEL)
