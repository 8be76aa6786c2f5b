"""The files of a page read together, column by column, where none of them needs a look of its own.

What is asked of each file is the same as in `parse_json`, and asked here of all of them at once: of 3,000 files that
takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from pyproxy.model import File, Filename, Hashes, are_filenames, package_type
from pyproxy.simple_api import fields
from pyproxy.simple_api.listed import ListedFile
from pyproxy.simple_api.references import MAX_URL, BadLink, all_plain
from pyproxy.simple_api.shelf import MAX_FILES, Shelf

T = TypeVar("T")
U = TypeVar("U")

_USUAL = (".whl", ".tar.gz")
_SHA256 = "sha256"


def put_together(files: list[ListedFile], shelf: Shelf) -> bool:
    """Puts all of them on the empty shelf. False, and nothing done, where one is not as most files of most pages are.

    Such as: one whose URL must be encoded or leads to another host, one without a digest, or one to be left out.
    """
    if not 0 < len(files) <= MAX_FILES:
        return False
    names = [file.filename for file in files]
    urls = [file.url for file in files]
    try:
        links = _links(names, urls, shelf)
        hashes = _sha256_alone([file.hashes for file in files])
        metadata = _core_metadata([file.core_metadata for file in files])
        pythons = _each_once(_requires_python, [file.requires_python for file in files])
    except (BadLink, fields.BadField):
        return False
    if links is None or hashes is None or metadata is None:
        return False
    shelf.put_all(
        map(
            File,
            cast("list[Filename]", names),
            urls,
            links,
            hashes,
            pythons,
            [fields.yanked(file.yanked) if file.yanked else False for file in files],
            metadata,
            [file.gpg_sig for file in files],
            [file.size for file in files],
            fields.instants([file.upload_time for file in files]),
            [shelf.provenance(file.provenance) if file.provenance else None for file in files],
        )
    )
    return True


def _links(names: list[str], urls: list[str], shelf: Shelf) -> list[str] | None:
    """Where each is served; None where one name or URL is not a usual one. Raises BadLink."""
    if not are_filenames(names) or len(set(names)) != len(names):
        return None
    if any(package_type(name) is None for name in names if not name.endswith(_USUAL)):
        return None
    if not all_plain(urls) or max(map(len, urls)) > MAX_URL:
        return None
    first = shelf.base.resolve(urls[0])
    joined = "\n".join(["", *urls])
    # One host, spelt as it is spelt here: then the URLs stay as they are.
    if joined.count(f"\n{first.origin}/") != len(urls):
        return None
    # A link cannot hold these as they stand (`links.linked`); two slashes are in each URL behind its scheme.
    if "@" in joined or joined.count("//") != len(urls):
        return None
    # The last part of a link is the file's name: clients that read the URL alone would see another file.
    if [url[url.rfind("/") + 1 :] for url in urls] != names:
        return None
    source = shelf.source(first)
    if source is None:
        return None
    at = len(first.origin)
    return [source + url[at:] for url in urls]


def _sha256_alone(raws: list[dict[str, str | None] | None]) -> list[Hashes] | None:
    """The digests as they are, if each file has a SHA-256 and nothing else."""
    return cast("list[Hashes]", raws) if all(raws) and fields.all_sha256(raws) else None


def _core_metadata(raws: list[bool | dict[str, str | None] | None]) -> list[bool | Hashes] | None:
    """The column as it is, if it says yes, no or a SHA-256 of each file."""
    if None in raws or {} in raws:
        return None  # an older key may tell, or it says yes in another way
    return cast("list[bool | Hashes]", raws) if fields.all_sha256(raws) else None


def _requires_python(raw: str | None) -> str | None:
    return fields.requires_python(raw) if raw else None


def _each_once(call: Callable[[T], U], values: Iterable[T]) -> list[U]:
    """What the call gives for each value; a page says the same few over and over."""
    values = list(values)
    known = {value: call(value) for value in set(values)}
    return [known[value] for value in values]
