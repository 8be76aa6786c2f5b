"""A small world of real wheels and sdists that need each other, and the forms in which an index lays it out."""

from __future__ import annotations

import hashlib
import html
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from tests.daemon import JSON
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.resources import Request, Resource

FORMS = ("json", "html", "negotiated")

_UPLOADED = "2024-02-29T12:34:56.789012Z"

# A build that downloads nothing: the sdist brings its backend (PEP 517, backend-path) and what that "builds".
_PYPROJECT = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
_BACKEND = b"""\
import pathlib, shutil

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    (built,) = pathlib.Path(__file__).parent.glob("*.whl")
    shutil.copy(built, wheel_directory)
    return built.name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file of the world, and what is true of it. `metadata`: a wheel's, whether or not the index serves it."""

    filename: str
    version: str
    data: bytes
    metadata: bytes | None = None
    serves_metadata: bool = False
    requires_python: str | None = None
    yanked: bool | str = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def metadata_hashes(self) -> dict[str, str] | None:
        """What the index tells of the metadata."""
        if self.metadata is None or not self.serves_metadata:
            return None
        return {"sha256": hashlib.sha256(self.metadata).hexdigest()}


World = Mapping[str, tuple[Made, ...]]


def a_wheel(
    project: str,
    version: str,
    *requires: str,
    requires_python: str | None = None,
    tag: str = "py3-none-any",
    payload: bytes = b"",
    yanked: bool | str = False,
    serves_metadata: bool = True,
) -> Made:
    distribution = project.replace("-", "_")
    info = f"{distribution}-{version}.dist-info"
    metadata = _metadata(project, version, requires, requires_python)
    members = {
        f"{distribution}/__init__.py": f'VERSION = "{version}"\n'.encode(),
        f"{distribution}/payload.bin": payload,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    members[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*members, f"{info}/RECORD")).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data)
    return Made(
        filename=f"{distribution}-{version}-{tag}.whl",
        version=version,
        data=out.getvalue(),
        metadata=metadata,
        serves_metadata=serves_metadata,
        requires_python=requires_python,
        yanked=yanked,
    )


def an_sdist(project: str, version: str, *requires: str) -> Made:
    built = a_wheel(project, version, *requires)
    folder = f"{project.replace('-', '_')}-{version}"
    members = {
        "PKG-INFO": _metadata(project, version, requires, None),
        "pyproject.toml": _PYPROJECT,
        "backend.py": _BACKEND,
        built.filename: built.data,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for path, data in members.items():
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return Made(filename=f"{folder}.tar.gz", version=version, data=out.getvalue())


def _metadata(project: str, version: str, requires: Iterable[str], requires_python: str | None) -> bytes:
    lines = ["Metadata-Version: 2.2", f"Name: {project}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += ["Provides-Extra: gift"] if any("extra ==" in one for one in requires) else []
    lines += [f"Requires-Dist: {one}" for one in requires]
    return "\n".join([*lines, "", "A thing with an ümlaut.", ""]).encode()


def _projects() -> dict[str, tuple[Made, ...]]:
    needs_coin = "coin>=1!0"
    return {
        "shop": (
            a_wheel("shop", "1.0", "basket>=1", "Price.Tag~=1.1", "till", 'abacus; sys_platform == "win32"'),
            a_wheel("shop", "0.9", requires_python="<3"),
        ),
        "abacus": (a_wheel("abacus", "1.0"),),
        "basket": (
            a_wheel("basket", "1.0", "price_tag"),
            a_wheel("basket", "1.1", "price_tag>=1.1", 'ribbon; extra == "gift"', requires_python=">=3.8, !=3.99.*"),
            a_wheel("basket", "2.0", requires_python=">=3.99"),
        ),
        "price-tag": (
            a_wheel("price-tag", "1.1", needs_coin),
            a_wheel("price-tag", "1.2.post1", needs_coin),
            an_sdist("price-tag", "1.2.post1", needs_coin),
            a_wheel("price-tag", "1.3rc1", needs_coin),
        ),
        "coin": (
            a_wheel("coin", "2024.1", serves_metadata=False),
            a_wheel("coin", "1!1.0", serves_metadata=False),
        ),
        "till": (an_sdist("till", "1.0", needs_coin),),
        "scale": (
            a_wheel("scale", "1.0"),
            a_wheel("scale", "1.1", yanked='weighs <b>"wrong"</b> & slowly'),
            a_wheel("scale", "1.2", yanked=True),
        ),
        "ribbon": (
            a_wheel("ribbon", "0.1", tag="py3-none-win32"),
            a_wheel("ribbon", "0.1"),
            an_sdist("ribbon", "0.1"),
        ),
        "crate": (a_wheel("crate", "1.0", payload=random.Random(7).randbytes(1_500_000), serves_metadata=False),),
    }


WORLD: World = MappingProxyType(_projects())

SHOP = {"shop": "1.0", "basket": "1.1", "price-tag": "1.2.post1", "till": "1.0", "coin": "1!1.0"}
"""What an installation of shop comes to, anywhere but on Windows."""


def made(filename: str) -> Made:
    """The file of the world that has this name."""
    return next(file for files in WORLD.values() for file in files if file.filename == filename)


def lay(up: RawUpstream, form: str, root: str = "") -> None:
    """Lays the world below `root`: list and pages below `simple/`, in one of FORMS, and its files below `files/`."""
    names = sorted(WORLD)
    _page(up, f"{root}/simple/", form, _list_as_json(names), _list_as_html(names))
    for name, files in WORLD.items():
        _page(up, f"{root}/simple/{name}/", form, _as_json(name, files, f"{up.url[:-1]}{root}"), _as_html(files))
        for file in files:
            path = f"{root}/files/{quote(file.filename)}"
            up.serve(path, file.data, etag=f'"{file.sha256[:16]}"')
            if file.metadata is not None and file.serves_metadata:
                up.serve(f"{path}.metadata", file.metadata)


def _page(up: RawUpstream, path: str, form: str, as_json: bytes, as_html: bytes) -> None:
    plain = Resource(as_html, "text/html; charset=utf-8", etag=_etag(as_html), ranges=False)
    modern = Resource(as_json, JSON, etag=_etag(as_json), ranges=False)
    choose: Mapping[str, Callable[[Request], Resource]] = {
        "json": lambda _: modern,
        "html": lambda _: plain,
        "negotiated": lambda request: modern if JSON in request.headers.get("accept", "") else plain,
    }
    up.answer(path, choose[form])


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def _list_as_json(names: Iterable[str]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in names]}).encode()


def _list_as_html(names: Iterable[str]) -> bytes:
    anchors = "".join(f'<a href="{name}/">{name}</a><br>' for name in names)
    head = "<head><title>Simple index</title></head>"
    return f"<!DOCTYPE html><html>{head}<body>{anchors}</body></html>".encode()


def _as_json(name: str, files: tuple[Made, ...], root: str) -> bytes:
    """With absolute links, as large indexes have them."""
    records: list[dict[str, Any]] = []  # Any: fields of a JSON page
    for file in files:
        record: dict[str, Any] = {
            "filename": file.filename,
            "url": f"{root}/files/{quote(file.filename)}",
            "hashes": {"sha256": file.sha256},
            "size": len(file.data),
            "upload-time": _UPLOADED,
            "requires-python": file.requires_python,
            "yanked": file.yanked,
        }
        if file.metadata_hashes is not None:
            record["core-metadata"] = file.metadata_hashes
        records.append(record)
    versions = sorted({file.version for file in files})
    page = {"meta": {"api-version": "1.1"}, "name": name, "files": records, "versions": versions}
    return json.dumps(page).encode()


def _as_html(files: tuple[Made, ...]) -> bytes:
    """With relative links, as small indexes have them."""
    anchors = ""
    for file in files:
        said = {"href": f"../../files/{quote(file.filename)}#sha256={file.sha256}"}
        if file.requires_python:
            said["data-requires-python"] = file.requires_python
        if file.yanked:
            said["data-yanked"] = file.yanked if isinstance(file.yanked, str) else ""
        if file.metadata_hashes is not None:
            said["data-core-metadata"] = f"sha256={file.metadata_hashes['sha256']}"
        attributes = "".join(f' {key}="{html.escape(value)}"' for key, value in said.items())
        anchors += f"<a{attributes}>{html.escape(file.filename)}</a><br>\n"
    return f"<!DOCTYPE html>\n<html><body>\n{anchors}</body></html>\n".encode()
