"""What must hold before local content is opened, and what is swept first."""

from __future__ import annotations

import logging
from typing import Final

from pyproxy.storage import recover
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import IndexDamaged
from pyproxy.storage.local_layout import LocalLayout
from pyproxy.storage.sidecars import Sidecars

log = logging.getLogger(__name__)

REMEDY: Final = "make it again from the files: pyproxy verify --rebuild"


def check_index(layout: LocalLayout, disk: Disk, mark: recover.CleanMark, *, alone: bool) -> bool:
    """Whether the store was left in order, or is somebody else's to look at.

    Raises IndexDamaged: an index that is lost must never be begun anew over files that are there.
    """
    if not layout.has_index(disk):
        sidecars = Sidecars(Blobs(disk, root=layout.blobs, tmp=layout.tmp, levels=2), disk)
        if next(sidecars.walk(), None) is not None:
            raise IndexDamaged(f"{layout.index}: the index of local content is gone, its files are not; {REMEDY}")
        disk.make_own_dir(layout.index)
    if not alone:
        return True
    clean = mark.holds()
    mark.clear()
    if not clean and (why := recover.index_damage(disk, layout.index)) is not None:
        raise IndexDamaged(f"{layout.index}: the index of local content is damaged ({why}); {REMEDY}")
    return clean


def sweep_temps(layout: LocalLayout, disk: Disk) -> None:
    swept, foreign = Blobs(disk, root=layout.blobs, tmp=layout.tmp, levels=2).sweep()
    if swept:
        log.info("swept %d temporary files of local content", swept)
    if foreign:
        log.warning("%d files in %s are none of ours and are left alone", foreign, disk.shown(layout.tmp))
