"""What the upstream of the benchmarks offers is what an index would offer."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from bench.catalogue import JSON, made_up, write_graph
from pyproxy.model import as_project
from pyproxy.simple_api import linker, parse_page

BASE = "http://127.0.0.1:1"


@pytest.mark.parametrize("count", [12, 300, 3000])
def test_made_up__every_file_of_the_page_is_readable_and_another(count: int) -> None:
    page = made_up(f"p{count}-x")
    assert page is not None

    for body, kind in ((page.as_json(BASE), JSON), (page.as_html(BASE), "text/html")):
        url = f"{BASE}/simple/{page.name}/"
        parsed = parse_page(body, kind, url, as_project(page.name), linker=linker("up", f"{BASE}/simple/", None))
        assert len({file.filename for file in parsed.page.files}) == count
        assert len({file.link for file in parsed.page.files}) == count


def test_made_up__large_page__is_as_large_as_real_ones() -> None:
    page = made_up("p3000-x")
    assert page is not None

    assert 1_700_000 < len(page.as_json(BASE)) < 2_200_000


def test_made_up__other_names__are_none() -> None:
    assert made_up("alpha") is None


def test_write_graph__first_package_needs_all(tmp_path: Path) -> None:
    pages = {page.name: page for page in write_graph(tmp_path, 12)}

    seen: set[str] = set()
    todo = ["graph-000"]
    while todo:
        name = todo.pop()
        seen.add(name)
        newest = pages[name].entries[-1]
        data = (tmp_path / newest.filename).read_bytes()
        assert hashlib.sha256(data).hexdigest() == newest.sha256
        with zipfile.ZipFile(tmp_path / newest.filename) as archive:
            stem = name.replace("-", "_")
            lines = archive.read(f"{stem}-9.0.dist-info/METADATA").decode().splitlines()
        needed = [line.removeprefix("Requires-Dist: ").partition(">")[0] for line in lines if "Requires" in line]
        todo += [one for one in needed if one not in seen]
    assert seen == set(pages)


def test_page__as_json__tells_digests_and_sizes() -> None:
    page = made_up("p12-x")
    assert page is not None
    told = json.loads(page.as_json(BASE))

    assert told["meta"]["api-version"] == "1.3"
    assert [one["hashes"]["sha256"] for one in told["files"]] == [entry.sha256 for entry in page.entries]
