"""The files of a page read together, column by column, where none of them needs a look of its own.

What is asked of each file is the same as in `parse_json`, and asked here of all of them at once: of 3,000 files that
takes a third of the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import TypeVar, cast

from pyproxy.model import File, Filename, are_filenames, package_type
from pyproxy.simple_api import fields
from pyproxy.simple_api.listed import Sha256Alone, UsualFile
from pyproxy.simple_api.references import MAX_URL, PLAIN, BadLink
from pyproxy.simple_api.shelf import MAX_FILES, Shelf

T = TypeVar("T")
U = TypeVar("U")

# Nothing to encode or to decode, and no "@", which links cannot hold as it stands (`links.linked`).
_IN_FOLDERS = PLAIN.translate(None, b"%@")
_DOTS_OR_EMPTY = re.compile(rb"/[/.]")


def put_together(files: list[UsualFile], shelf: Shelf) -> tuple[File, ...] | None:
    """All of them, none left out. None where one is not as most files of most pages are.

    Such as: one whose URL must be encoded or leads to another host, or one to be left out.
    """
    if not 0 < len(files) <= MAX_FILES:
        return None
    names = [file.filename for file in files]
    urls = [file.url for file in files]
    hashes = [file.hashes for file in files]
    metadata = [file.core_metadata for file in files]
    try:
        located = _located(names, urls, shelf)
        pythons = _each_once(_requires_python, [file.requires_python for file in files])
    except (BadLink, fields.BadField):
        return None
    if located is None or not _are_right(hashes) or not _are_right(metadata):
        return None
    return tuple(
        map(
            File,
            cast("list[Filename]", names),
            *located,
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


def _located(names: list[str], urls: list[str], shelf: Shelf) -> tuple[list[str], list[str]] | None:
    """Their absolute URLs and their links; None where one name or URL is not a usual one. Raises BadLink."""
    if not are_filenames(names) or len(set(names)) != len(names) or not _are_distributions(names):
        return None
    first = shelf.base.resolve(urls[0])
    lead, root = shelf.base.lead(urls[0], first)
    # All begin as the first does, with one host as it is spelt here, or as many steps up. And the last part of a link
    # is the file's name: clients that read the URL alone would see another file.
    paths = list(map(str.removeprefix, urls, repeat(lead)))
    folders = list(map(str.removesuffix, paths, names))
    cut = sum(map(len, urls)) - sum(map(len, folders))
    if cut != len(urls) * len(lead) + sum(map(len, names)):
        return None  # one begins or ends otherwise: what was not there was not cut off
    if not _are_folders([f"{root}/", *folders]) or max(map(len, urls)) > MAX_URL:
        return None
    source = shelf.source(first)
    if source is None:
        return None
    base, source = first.origin + root, source + root
    return urls if lead == base else [base + path for path in paths], [source + path for path in paths]


def _are_distributions(names: list[str]) -> bool:
    joined = "\n".join([*names, ""])
    if joined.count(".whl\n") + joined.count(".tar.gz\n") == len(names):
        return True
    return all(package_type(name) is not None for name in names)


def _are_folders(paths: list[str]) -> bool:
    """Whether each is a path as it stands in links, from slash to slash: one look at all of them together."""
    joined = "\n".join(paths)
    if joined[:1] != "/" or joined[-1:] != "/" or joined.count("/\n/") != len(paths) - 1:
        return False
    spelt = joined.encode(errors="replace")
    # No line feeds but those put between them, or two paths could pass for two others.
    return spelt.translate(None, _IN_FOLDERS) == b"\n" * (len(paths) - 1) and _DOTS_OR_EMPTY.search(spelt) is None


def _are_right(digests: Sequence[bool | Sha256Alone]) -> bool:
    return fields.are_sha256([one.sha256 for one in digests if one is not False and one is not True])


def _requires_python(raw: str | None) -> str | None:
    return fields.requires_python(raw) if raw else None


def _each_once(call: Callable[[T], U], values: Iterable[T]) -> list[U]:
    """What the call gives for each value; a page says the same few over and over."""
    values = list(values)
    known = {value: call(value) for value in set(values)}
    return list(map(known.__getitem__, values))
