"""Pages as JSON (PEP 691, 700, 708, 714, 740, 792), from a body that may be anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from msgspec.json import Decoder

from pyproxy.errors import PageUnreadable
from pyproxy.model import File, Hashes, ProjectName, ProjectPage, normalised, printable
from pyproxy.simple_api import fields
from pyproxy.simple_api.about import (
    About,
    UsualAbout,
    as_type,
    check_meta,
    check_version,
    members,
    with_meta,
    with_usual,
)
from pyproxy.simple_api.columns import put_together
from pyproxy.simple_api.listed import NOTHING, ListedFile, Sha256Alone, Size, UsualFile
from pyproxy.simple_api.references import BadLink, all_plain
from pyproxy.simple_api.shelf import MAX_FILES, Shelf

# Above this the files are decoded one by one, though that takes twice as long: a decoder keeps the interpreter's lock
# until it is done, 1 ms for a MB, and what hostile bodies become is 20 times as large.
_AT_ONCE = 4 * 1024 * 1024

# A page of 64 MiB has some 1.9 million commas, one in 35 bytes. "[1,1,1…" has one in two, and takes 2 GB when decoded.
_MAX_COMMAS = 2_500_000
_MAX_FILE = 64 * 1024

# RFC 8259 §8.1: parsers "MAY ignore the presence of a byte order mark rather than treating it as an error".
BOM = b"\xef\xbb\xbf"


class _UsualPage(UsualAbout, rename="kebab", kw_only=True):
    files: list[UsualFile]


class _Page(About, rename="kebab", kw_only=True):
    files: list[ListedFile]


class _LoosePage(About, rename="kebab", kw_only=True):
    files: msgspec.Raw = NOTHING


_usual_page = Decoder(_UsualPage)
_page = Decoder(_Page)
_loose_page = Decoder(_LoosePage)
LIST = Decoder(list[msgspec.Raw])
_file = Decoder(ListedFile)
_text = Decoder(str)
_integer = Decoder(Size)
_flag = Decoder(bool)
_digests: Decoder[dict[str, str | None] | None] = Decoder(dict[str, str | None] | None)
_metadata: Decoder[bool | dict[str, str | None] | None] = Decoder(bool | dict[str, str | None] | None)
_anything = Decoder(Any)


def parse_json(body: bytes, project: ProjectName, shelf: Shelf) -> ProjectPage:
    """The project's page, its files looked at on the shelf.

    A file that is wrong is left out alone, and of a wrong optional field only the field. Raises PageUnreadable
    where the body is no JSON object with a list of files, is of another repository version or another project, or
    passes a bound.
    """
    body = body.removeprefix(BOM)
    if len(body) > _MAX_COMMAS and body.count(b",") > _MAX_COMMAS:
        raise PageUnreadable("it holds more than any page may")
    page, files = _read(body)
    name = page.name if isinstance(page, _UsualPage) else as_type(_text, page.name)
    if name and normalised(name) != project:
        raise PageUnreadable(f"it is the page of another project, {printable(name)}")
    together = put_together(page.files, shelf) if isinstance(page, _UsualPage) else None
    if together is None:
        usual = _Usual.of(page.files) if isinstance(page, (_UsualPage, _Page)) else _NOT_KNOWN
        for file in files:
            if isinstance(file, msgspec.Raw):
                _put_loose(file, shelf)
            else:
                _put(file, shelf, usual)
    found = shelf.files if together is None else together
    return with_usual(page, project, found) if isinstance(page, _UsualPage) else with_meta(page, project, found)


def _read(
    body: bytes,
) -> tuple[About | _UsualPage, Sequence[UsualFile] | Sequence[ListedFile] | Sequence[msgspec.Raw]]:
    """The page and its files: as they should be, or raw where some are not or where they are many."""
    if len(body) <= _AT_ONCE:
        # What is not as it should be is read again, in the end file by file: one wrong file must not cost the others.
        try:
            usual = _usual_page.decode(body)
            check_version(usual.meta.api_version)
            return usual, usual.files
        except (ValueError, RecursionError):
            pass
        try:
            page = _page.decode(body)
            check_meta(page)
            return page, page.files
        except (ValueError, RecursionError):
            pass
    try:
        loose = _loose_page.decode(body)
        check_meta(loose)
        files = LIST.decode(loose.files)
    except msgspec.ValidationError as exc:
        raise PageUnreadable("it is no JSON object with a list of files") from exc
    except msgspec.DecodeError as exc:
        raise PageUnreadable("it is no valid JSON") from exc
    except (UnicodeDecodeError, RecursionError) as exc:
        raise PageUnreadable("it is no JSON that any index sends") from exc
    if len(files) > MAX_FILES:
        raise PageUnreadable(f"it has more than {MAX_FILES} files")
    return loose, files


class _Usual(NamedTuple):
    """What holds for every file of a page, so that nobody has to look at each."""

    plain: bool = False
    sha256: bool = False

    @classmethod
    def of(cls, files: Sequence[UsualFile | ListedFile]) -> _Usual:
        return cls(
            plain=all_plain([file.url for file in files]),
            sha256=fields.all_sha256(digests for file in files for digests in (file.hashes, file.core_metadata)),
        )


_NOT_KNOWN = _Usual()


def _put(file: UsualFile | ListedFile, shelf: Shelf, usual: _Usual) -> None:
    try:
        target = shelf.base.resolve_plain(file.url) if usual.plain else shelf.base.resolve(file.url)
        hashes = _digests_of(file.hashes, usual) if file.hashes else {}
        requires_python = fields.requires_python(file.requires_python) if file.requires_python else None
    except (BadLink, fields.BadField) as exc:
        shelf.drop(file.filename, str(exc))
        return
    if target.name != file.filename:
        # The last part of a link is the file's name: clients that read the URL alone would see another file.
        shelf.drop(file.filename, "its URL ends in another name")
        return
    placed = shelf.place(file.filename, target, hashes)
    if placed is None:
        return
    name, link = placed
    shelf.put(
        File(
            name,
            target.url,
            link,
            hashes,
            requires_python,
            fields.yanked(file.yanked) if file.yanked else False,
            _metadata_of(file, usual),
            file.gpg_sig,
            file.size,
            fields.instant(file.upload_time),
            shelf.provenance(file.provenance) if file.provenance else None,
        )
    )


def _digests_of(raw: Sha256Alone | dict[str, str | None], usual: _Usual) -> Hashes:
    return cast("Hashes", raw) if usual.sha256 else fields.hashes(cast("Mapping[str, str | None]", raw))


def _metadata_of(file: UsualFile | ListedFile, usual: _Usual) -> bool | Hashes:
    metadata = cast("bool | Mapping[str, str | None] | None", file.core_metadata)
    if metadata is None and isinstance(file, ListedFile):
        metadata = _older_metadata(file)
    elif metadata and usual.sha256:
        return cast("bool | Hashes", metadata)
    return fields.core_metadata(metadata) if metadata else metadata == {}


def _older_metadata(file: ListedFile) -> bool | dict[str, str | None] | None:
    """PEP 714: "consumers MUST read core-metadata where both are present". The third name is one that is sent."""
    for raw in (file.dist_info_metadata, file.data_dist_info_metadata):
        found = as_type(_metadata, raw)
        if found is not None:
            return found
    return None


def _put_loose(raw: msgspec.Raw, shelf: Shelf) -> None:
    """One file by itself: field by field where it is not as it should be."""
    if len(memoryview(raw)) > _MAX_FILE:
        shelf.drop("a file", "larger than any file's entry may be")
        return
    file: ListedFile | None
    try:
        file = _file.decode(raw)
    except (ValueError, RecursionError):
        file = _mended(raw, shelf)
    if file is not None:
        _put(file, shelf, _NOT_KNOWN)


def _mended(raw: msgspec.Raw, shelf: Shelf) -> ListedFile | None:
    """The file without its wrong fields; None, and dropped, where one is wrong that it cannot be without."""
    found = members(raw)
    filename = as_type(_text, found.get("filename", NOTHING))
    url = as_type(_text, found.get("url", NOTHING))
    if filename is None or url is None:
        shelf.drop(filename or "a file", "without a name or without a URL")
        return None
    try:
        hashes = _digests.decode(found.get("hashes", NOTHING))
        yanked = _anything.decode(found.get("yanked", NOTHING))
    except (ValueError, RecursionError):
        # Without them it would be offered unchecked, or as if it were not yanked (PEP 592 forbids mirrors that).
        shelf.drop(filename, "its hashes or its yanked cannot be read")
        return None
    return ListedFile(
        filename=filename,
        url=url,
        hashes=hashes,
        requires_python=as_type(_text, found.get("requires-python", NOTHING)),
        yanked=yanked if isinstance(yanked, str) else bool(yanked),
        core_metadata=as_type(_metadata, found.get("core-metadata", NOTHING)),
        dist_info_metadata=found.get("dist-info-metadata", NOTHING),
        data_dist_info_metadata=found.get("data-dist-info-metadata", NOTHING),
        gpg_sig=as_type(_flag, found.get("gpg-sig", NOTHING)),
        size=as_type(_integer, found.get("size", NOTHING)),
        upload_time=as_type(_text, found.get("upload-time", NOTHING)),
        provenance=as_type(_text, found.get("provenance", NOTHING)),
    )
