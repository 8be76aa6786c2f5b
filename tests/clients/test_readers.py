"""The public parsers as judges: what they read off our pages is what is true of the world, field by field."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from mousebender import simple
from packaging.metadata import Metadata
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version
from pypi_simple import ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY, PyPISimple

from tests.clients.world import FORMS, WORLD, Made, lay
from tests.daemon import HTML, JSON, one_remote, serving
from tests.fakes.raw_upstream import RawUpstream

_UPLOADED = datetime(2024, 2, 29, 12, 34, 56, 789012, UTC)

Fields = dict[str, Any]  # Any: each field has its own type
Read = dict[str, dict[str, Fields]]
"""By project and file name, what a reader read."""

each_form = pytest.mark.parametrize("form", FORMS)


def _true(file: Made, *, dated: bool) -> Fields:
    """`dated`: the form tells size and upload time too."""
    fields: Fields = {
        "hashes": {"sha256": file.sha256},
        "requires-python": file.requires_python,
        "yanked": file.yanked,
        # Every wheel's is advertised; its hash where the remote told it.
        "core-metadata": None if file.metadata is None else file.metadata_hashes or True,
    }
    return fields | ({"size": len(file.data), "upload-time": _UPLOADED} if dated else {})


def _truth(*, dated: bool) -> Read:
    return {name: {file.filename: _true(file, dated=dated) for file in files} for name, files in WORLD.items()}


def _inside(url: str, root: str) -> bool:
    """Whether the link stays in the proxy."""
    return url.startswith(f"{root}/pypi/main/files/up")


def _read_by_pypi_simple(root: str, accept: str, *, dated: bool) -> Read:
    """Asks as a client of that library does; blocking."""
    read: Read = {}
    with PyPISimple(f"{root}/simple/", accept=accept) as client:
        for name in client.get_index_page().projects:
            page = client.get_project_page(name)
            assert page.project == name
            read[name] = {}
            for package in page.packages:
                assert _inside(package.url, root)
                assert (package.project, package.version) == _named(package.filename)
                fields: Fields = {
                    "hashes": package.digests,
                    "requires-python": package.requires_python,
                    "yanked": (package.yanked_reason or True) if package.is_yanked else False,
                    "core-metadata": (package.metadata_digests or True) if package.has_metadata else None,
                }
                fields |= {"size": package.size, "upload-time": package.upload_time} if dated else {}
                read[name][package.filename] = fields
    return read


def _named(filename: str) -> tuple[str, str]:
    """Project and version as the file name spells them."""
    stem = filename.removesuffix(".tar.gz")
    project, version = stem.split("-")[:2]
    return project, version


def _read_by_mousebender(name: str, body: str, content_type: str, url: str, *, dated: bool) -> dict[str, Fields]:
    page: Fields = {**simple.parse_project_details(body, content_type, name)}
    assert page["name"] == name
    read = {}
    for record in page["files"]:
        absolute = urlsplit(urljoin(url, record["url"]))
        assert _inside(absolute.geturl(), f"{absolute.scheme}://{absolute.netloc}")
        fields: Fields = {
            "hashes": record["hashes"],
            "requires-python": record.get("requires-python"),
            "yanked": record.get("yanked", False),
            "core-metadata": record.get("core-metadata"),
        }
        if dated:
            fields |= {"size": record["size"], "upload-time": datetime.fromisoformat(record["upload-time"])}
        read[record["filename"]] = fields
    return read


@each_form
@pytest.mark.parametrize("accept", [ACCEPT_JSON_ONLY, ACCEPT_HTML_ONLY], ids=["json", "html"])
async def test_pages__read_by_pypi_simple__say_what_is_true(tmp_path: Path, form: str, accept: str) -> None:
    dated = form != "html" and accept == ACCEPT_JSON_ONLY
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, form)
        read = await asyncio.to_thread(_read_by_pypi_simple, served.url, accept, dated=dated)

    assert read == _truth(dated=dated)


@each_form
@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
@pytest.mark.filterwarnings("ignore::mousebender.simple.APIVersionWarning")  # it reads 1.4, and warns from 1.2 on
async def test_pages__read_by_mousebender__say_what_is_true(tmp_path: Path, form: str, accept: str) -> None:
    dated = form != "html" and accept == JSON
    read: Read = {}
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, form)
        listed = await served.ask("/simple/", Accept=accept)
        index = simple.parse_project_index(listed.text, listed.headers["Content-Type"])
        for project in index["projects"]:
            name = project["name"]
            page = await served.page(name, accept=accept)
            url = f"{served.url}/pypi/main/simple/{name}/"
            read[name] = _read_by_mousebender(name, page.text, page.headers["Content-Type"], url, dated=dated)

    assert read == _truth(dated=dated)


@each_form
async def test_pages_and_metadata__read_by_packaging__agree_with_each_other(tmp_path: Path, form: str) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, form)
        for name, files in WORLD.items():
            page = (await served.page(name)).json()
            links = await served.links(name)
            versions = set()
            for record in page["files"]:
                filename, told = record["filename"], record.get("requires-python")
                if not filename.endswith(".whl"):
                    project, version = parse_sdist_filename(filename)
                    assert "core-metadata" not in record
                else:
                    project, version, *_ = parse_wheel_filename(filename)
                    answer = await served.ask(links[filename] + ".metadata")
                    metadata = Metadata.from_email(answer.body)
                    assert (metadata.name, metadata.version) == (project, version)
                    assert metadata.requires_python == (SpecifierSet(told) if told else None)
                assert project == name
                versions.add(version)
            assert versions == {Version(file.version) for file in files}
            assert sorted(Version(version) for version in page["versions"]) == sorted(versions)
