"""The folder of lists of projects: what in it is whole, how something is taken out, and what a crash has left there."""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import get_args

from pyproxy.encoding import Coding
from pyproxy.listing import body_in
from pyproxy.simple_api import Kind

log = logging.getLogger(__name__)

PREFIX = "rendered-"
RENDERED = re.compile(rf"{PREFIX}[0-9a-f]{{32}}")
"""The names of folders of rendered lists."""

_PART = ".part-"  # in the name of whatever is half made or half removed
_numbers = itertools.count()


def sweep(folder: Path, remotes: Collection[str]) -> None:
    """Removes what a daemon that was killed left half made, and the lists of remotes that are no more.

    Blocking. For the start of a daemon that has the store to itself.
    """
    kept = re.compile(rf"(?:{'|'.join(map(re.escape, remotes))})\.[0-9a-f]+\.names")
    try:
        found = list(folder.iterdir())
    except OSError as exc:
        log.warning("old lists of projects stay where they are: %s", exc.strerror)
        return
    for path in found:
        name = path.name
        if (
            _PART in name
            or name.endswith((".raw", ".parsed"))
            or (name.endswith(".names") and not kept.fullmatch(name))
            or (RENDERED.fullmatch(name) and not complete(path))
        ):
            remove(path)


def complete(folder: Path) -> bool:
    return all(body_in(folder, kind, coding).is_file() for kind in Kind for coding in get_args(Coding))


def remove(path: Path) -> None:
    """Out of the way at once, then bit by bit: a folder under its own name is always whole."""
    aside = path.with_name(f"{path.name}{_PART}{os.getpid()}-{next(_numbers)}")
    try:
        path.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    except FileNotFoundError:
        pass  # it was not there, or another process sweeps too
    except OSError as exc:
        log.warning("an old list of projects stays where it is: %s", exc.strerror)
