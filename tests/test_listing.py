"""The list of all projects, in a process of its own."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pyproxy import listing
from pyproxy.encoding import Coding
from pyproxy.errors import PageUnreadable, StoreFull, StoreTrouble
from pyproxy.listing import body_in, listed, parse_list, render_list
from pyproxy.model import ProjectName, normalised
from pyproxy.simple_api import Kind
from tests.simple_api.pages import JSON, Reader


def write_json(path: Path, *names: object) -> Path:
    path.write_text(json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]}))
    return path


def write_names(path: Path, *names: str) -> Path:
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def test_parse__json__is_sorted_and_each_project_once(tmp_path: Path) -> None:
    source = write_json(tmp_path / "raw", "zeta", "Foo.Bar", "foo_bar", "alpha", "FOO-bar")
    digest = await parse_list(source, tmp_path / "names", f"{JSON}; charset=utf-8")
    written = (tmp_path / "names").read_bytes()
    assert written == b"alpha\nFoo.Bar\nzeta\n"
    assert digest == hashlib.sha256(written).hexdigest()
    assert left_in(tmp_path) == ["names", "raw"]


async def test_parse__html__is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    source.write_text("<html><title>Simple index</title><a href='z/'>Z</a><a href='a/'>a</a></html>")
    await parse_list(source, tmp_path / "names", "text/html")
    assert (tmp_path / "names").read_text() == "a\nZ\n"


async def test_parse__names_that_no_project_has__are_left_out(tmp_path: Path) -> None:
    hostile = ["", "../x", "a/b", "<script>", "a\nb", "é", "-x", "x" * 300, None, 7, "a b", "x\0", "."]
    source = write_json(tmp_path / "raw", *hostile, "good")
    await parse_list(source, tmp_path / "names", JSON)
    assert (tmp_path / "names").read_text() == "good\n"


async def test_parse__empty_list__is_a_list(tmp_path: Path) -> None:
    await parse_list(write_json(tmp_path / "raw"), tmp_path / "names", JSON)
    assert (tmp_path / "names").read_bytes() == b""


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (b'{"projects": [', JSON, "no JSON object"),
        (b"<html><title>Log in</title></html>", "text/html", "no list of projects"),
        (b"<html><title>Simple index</title>", "text/html", "cut short"),
        (b'{"projects": []}', "application/json", "'application/json'"),
        (b"[" * 1_000_000, JSON, "no JSON object"),
    ],
)
async def test_parse__no_list__is_refused_and_changes_nothing(
    tmp_path: Path, body: bytes, content_type: str, why: str
) -> None:
    (tmp_path / "raw").write_bytes(body)
    write_names(tmp_path / "names", "before")
    with pytest.raises(PageUnreadable, match=why) as caught:
        await parse_list(tmp_path / "raw", tmp_path / "names", content_type)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "names").read_text() == "before\n"
    assert left_in(tmp_path) == ["names", "raw"]


async def test_parse__bomb__is_stopped_by_the_limit_on_memory(tmp_path: Path) -> None:
    # 60 MB that would become 100 times as much: the process may not take it, and this one never does.
    (tmp_path / "raw").write_bytes(b'{"projects":[' + b"1," * 30_000_000 + b"1]}")
    with pytest.raises(PageUnreadable, match="memory"):
        await parse_list(tmp_path / "raw", tmp_path / "names", JSON)
    assert left_in(tmp_path) == ["raw"]


async def test_parse__larger_than_any_list__is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "raw").open("wb") as file:
        file.truncate(listing.MAX_LIST + 1)
    with pytest.raises(PageUnreadable, match="larger than"):
        await parse_list(tmp_path / "raw", tmp_path / "names", JSON)


async def test_parse__source_that_is_gone__is_trouble_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreTrouble, match="No such file"):
        await parse_list(tmp_path / "none", tmp_path / "names", JSON)


async def test_parse__folder_that_is_gone__is_trouble_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreTrouble):
        await parse_list(write_json(tmp_path / "raw", "a"), tmp_path / "none" / "names", JSON)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_failure__full_disk__is_told_as_such(number: int) -> None:
    failure = listing._failure(74, f"{number} {os.strerror(number)}")
    assert isinstance(failure, StoreFull)
    assert os.strerror(number) in str(failure)


def test_failure__killed_process__is_an_unreadable_list() -> None:
    assert isinstance(listing._failure(-9, ""), PageUnreadable)


async def test_parse__that_takes_too_long__is_ended_and_leaves_nothing(tmp_path: Path) -> None:
    before = children()
    os.mkfifo(tmp_path / "raw")  # opening it waits for a writer that never comes
    with pytest.raises(PageUnreadable, match=r"more than 0\.5 s"):
        await parse_list(tmp_path / "raw", tmp_path / "names", JSON, timeout=0.5)
    assert left_in(tmp_path) == ["raw"]
    assert children() == before


async def test_parse__cancelled__ends_the_process(tmp_path: Path) -> None:
    before = children()
    os.mkfifo(tmp_path / "raw")
    task = asyncio.create_task(parse_list(tmp_path / "raw", tmp_path / "names", JSON))
    # The process is there once somebody reads the other end: this open waits for that.
    writer = await asyncio.to_thread(os.open, tmp_path / "raw", os.O_WRONLY)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(writer)
    assert children() == before


def children() -> list[str]:
    return [line for task in Path("/proc/self/task").iterdir() for line in (task / "children").read_text().split()]


async def test_render__several_lists__are_united(tmp_path: Path) -> None:
    first = write_names(tmp_path / "first", "alpha", "Foo.Bar", "zeta")
    second = write_names(tmp_path / "second", "beta", "foo-bar")
    folder = tmp_path / "out"
    rendered = await render_list([first, second], folder)
    assert rendered.projects == 4
    body = body_in(folder, Kind.JSON, "identity").read_bytes()
    assert json.loads(body) == {
        "meta": {"api-version": "1.4"},
        "projects": [{"name": "alpha"}, {"name": "beta"}, {"name": "Foo.Bar"}, {"name": "zeta"}],
    }
    assert rendered.json == hashlib.sha256(body).hexdigest()
    html = body_in(folder, Kind.HTML, "identity").read_bytes()
    assert rendered.html == hashlib.sha256(html).hexdigest()
    reader = Reader(html.decode())
    assert reader.texts == ["alpha", "beta", "Foo.Bar", "zeta"]
    assert [anchor["href"] for anchor in reader.anchors] == ["alpha/", "beta/", "foo-bar/", "zeta/"]
    assert ("pypi:repository-version", "1.4") in reader.metas
    assert left_in(tmp_path) == ["first", "out", "second"]


@pytest.mark.parametrize("kind", list(Kind))
async def test_render__every_coding__opens_to_the_same(tmp_path: Path, kind: Kind) -> None:
    names = write_names(tmp_path / "names", *(f"project-{n:06}" for n in range(25_000)))
    rendered = await render_list([names], tmp_path / "out")
    plain = body_in(tmp_path / "out", kind, "identity").read_bytes()
    assert rendered.projects == 25_000
    assert gzip.decompress(body_in(tmp_path / "out", kind, "gzip").read_bytes()) == plain
    packed = body_in(tmp_path / "out", kind, "zstd").read_bytes()
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read() == plain
    assert len(packed) < len(plain) / 3


async def test_render__same_names__same_bytes(tmp_path: Path) -> None:
    names = write_names(tmp_path / "names", "a", "b")
    first, second = [await render_list([names], tmp_path / folder) for folder in ("x", "y")]
    assert first == second
    codings: tuple[Coding, ...] = ("identity", "gzip", "zstd")
    for kind in Kind:
        for coding in codings:
            one, other = (body_in(tmp_path / folder, kind, coding).read_bytes() for folder in ("x", "y"))
            assert one == other


@pytest.mark.parametrize("lists", [0, 1])
async def test_render__nothing__is_an_empty_list(tmp_path: Path, lists: int) -> None:
    names = [write_names(tmp_path / "names")][:lists]
    assert (await render_list(names, tmp_path / "out")).projects == 0
    assert json.loads(body_in(tmp_path / "out", Kind.JSON, "identity").read_bytes())["projects"] == []


async def test_render__damaged_names__are_refused(tmp_path: Path) -> None:
    names = write_names(tmp_path / "names", "good", "<script>")
    with pytest.raises(PageUnreadable, match="not a project name"):
        await render_list([names], tmp_path / "out")
    assert left_in(tmp_path) == ["names"]


async def test_render__folder_that_is_there__is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "html").write_text("before")
    with pytest.raises(StoreTrouble):
        await render_list([write_names(tmp_path / "names", "a")], tmp_path / "out")
    assert left_in(tmp_path / "out") == ["html"]
    assert left_in(tmp_path) == ["names", "out"]


def test_process__wrong_usage__is_told() -> None:
    found = subprocess.run([sys.executable, "-m", "pyproxy.listing", "x"], capture_output=True, text=True, check=False)
    assert found.returncode == 65
    assert found.stderr.startswith("usage: ")


async def test_long_list__takes_the_memory_of_another_process(tmp_path: Path) -> None:
    count = 100_000
    source = write_json(tmp_path / "raw", *(f"Project.{n}" for n in range(count)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await parse_list(source, tmp_path / "names", JSON)
    assert (await render_list([tmp_path / "names"], tmp_path / "out")).projects == count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


# ---------------------------------------------------------------------- looking up

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)


@given(there=st.lists(NAMES, unique_by=normalised), asked=st.lists(NAMES))
def test_listed__are_those_whose_line_is_there(
    tmp_path_factory: pytest.TempPathFactory, there: list[str], asked: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "looked-up.names"
    path.write_text("".join(f"{name}\n" for name in sorted(there, key=normalised)))
    projects = [ProjectName(normalised(name)) for name in [*asked, *there[::2]]]

    assert listed(path, projects) == set(projects) & set(map(normalised, there))


def test_listed__of_no_file__are_none(tmp_path: Path) -> None:
    assert listed(tmp_path / "nothing.names", [ProjectName("alpha")]) == set()
