"""Nothing left to write to, or to open: clients get their files all the same, and the cache comes back by itself."""

from __future__ import annotations

import asyncio
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.daemon import Project, a_wheel, noise
from tests.fakes.faults import Drip
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, all_right, daemon, in_order, one_remote, temps_of
from tests.uploading import local, upload

MIB = 1 << 20
LARGEST = 4 * MIB

SMALL, LARGE, HUGE = "alpha-1.0.tar.gz", "alpha-2.0.tar.gz", "alpha-3.0.tar.gz"


def several(up: RawUpstream) -> dict[str, bytes]:
    made = Project("alpha")
    made.add(SMALL, noise(MIB, 1))
    made.add(LARGE, noise(LARGEST + MIB, 2))
    made.add(HUGE, noise(40 * MIB, 3))
    made.publish(up)
    return made.files


@asynccontextmanager
async def narrow(folder: Path, up: RawUpstream) -> AsyncIterator[Process]:
    """A daemon whose files may not grow beyond LARGEST (the write then fails, as on a full disk) until `wide`."""
    async with daemon(folder, one_remote(f"{up.url}simple/"), before=f"ulimit -S -f {LARGEST // 512}") as served:
        assert resource.prlimit(served.pid, resource.RLIMIT_FSIZE)[0] == LARGEST
        yield served


def widen(served: Process) -> None:
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


async def test_write_fails__file_is_passed_through_and_kept_once_there_is_room(tmp_path: Path) -> None:
    async with RawUpstream() as up, narrow(tmp_path, up) as served:
        files = several(up)
        answers = await asyncio.gather(*(served.file(LARGE) for _ in range(5)))
        assert all_right(answers, [files[LARGE]] * 5)
        assert up.count(f"/files/{LARGE}") == 1
        assert (await in_order(served.data)).blobs == 0

        assert (await served.file(SMALL)).body == files[SMALL]
        assert (await served.page()).status == 200
        assert (await in_order(served.data)).blobs == 1

        widen(served)
        assert (await served.file(LARGE)).body == files[LARGE]
        assert (await in_order(served.data)).blobs == 2
        asked = up.count()
        assert (await served.file(LARGE)).body == files[LARGE]
        assert up.count() == asked
        assert "Traceback" not in served.stderr


async def test_write_fails__parts_and_wholes_at_once__none_waits_for_another(tmp_path: Path) -> None:
    async with RawUpstream() as up, narrow(tmp_path, up) as served:
        body = several(up)[HUGE]
        path = f"/pypi/main/files/up/files/{HUGE}"
        parts = [(0, 999_999), (LARGEST - 500_000, LARGEST + 500_000), (20 * MIB, 21 * MIB)]
        up.script(f"/files/{HUGE}", Drip(step=65_536, pause=0.0005))
        whole = asyncio.create_task(served.file(HUGE))
        await up.asked(f"/files/{HUGE}")
        answers = await asyncio.gather(*(served.ask(path, Range=f"bytes={a}-{b}") for a, b in parts))

        assert [(a.status, a.whole) for a in answers] == [(206, True)] * 3
        assert [a.body for a in answers] == [body[a : b + 1] for a, b in parts]
        answer = await whole
        assert (answer.status, answer.whole, answer.body == body) == (200, True, True)
        assert temps_of(served.data) == ()


async def test_write_fails__large_file__takes_little_memory(tmp_path: Path) -> None:
    async with RawUpstream() as up, narrow(tmp_path, up) as served:
        files = several(up)
        await served.file(SMALL)
        before = served.memory("VmHWM")

        assert (await served.file(HUGE)).body == files[HUGE]
        assert served.memory("VmHWM") - before < 24 * MIB


# ---------------------------------------------------------------------- a disk that is really full

IN_A_NAMESPACE = ("unshare", "-Urm")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A folder over which the daemon, in a namespace of its own, can mount a disk of 64 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` on this machine, so no small disk")
    mounting = ("sh", "-c", f"mount -t tmpfs -o size=64m tmpfs {folder}")
    tried = subprocess.run((*IN_A_NAMESPACE, *mounting), capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts in user namespaces here: {tried.stderr.strip()}")
    return folder


def fill(path: Path) -> None:
    """Raises OSError once the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(MIB))


async def test_disk_full__file_is_passed_through_and_kept_once_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    async with (
        RawUpstream() as up,
        daemon(
            tmp_path,
            one_remote(f"{up.url}simple/"),
            before=f"mount -t tmpfs -o size=64m tmpfs {small_disk}",
            under=IN_A_NAMESPACE,
        ) as served,
    ):
        files = several(up)
        inside = Path(f"/proc/{served.pid}/root{small_disk}")
        assert (await served.file(SMALL)).body == files[SMALL]
        assert (await in_order(inside)).blobs == 1

        filler = inside / "filler"
        with pytest.raises(OSError, match="No space left"):
            fill(filler)
        answers = await asyncio.gather(*(served.file(name) for name in (LARGE, HUGE, SMALL)))
        assert all_right(answers, [files[LARGE], files[HUGE], files[SMALL]])
        made = Project("beta")
        made.add("beta-1.0.tar.gz", b"beta")
        made.publish(up)
        assert (await served.page("beta")).status == 200
        assert (await served.file("beta-1.0.tar.gz")).body == b"beta"
        assert (await served.ask("/healthz")).status == 200
        assert temps_of(inside) == ()

        filler.unlink()
        assert (await served.file(LARGE)).body == files[LARGE]
        assert (await in_order(inside)).blobs >= 2
        asked = up.count()
        assert (await served.file(LARGE)).body == files[LARGE]
        assert up.count() == asked
        assert await served.stop() == 0
        assert "Traceback" not in served.stderr


async def test_disk_full__upload__takes_the_place_of_what_is_cached_or_is_507(tmp_path: Path, small_disk: Path) -> None:
    made = Project("alpha")
    for number in range(3):
        made.add(f"alpha-{number}.0.tar.gz", noise(8 * MIB, number))
    wheel, larger = a_wheel("beta", "1.0", payload=noise(14 * MIB)), a_wheel("beta", "2.0", payload=noise(60 * MIB))
    async with (
        RawUpstream() as up,
        daemon(
            tmp_path,
            local(up),
            before=f"mount -t tmpfs -o size=64m tmpfs {small_disk}",
            under=IN_A_NAMESPACE,
        ) as served,
    ):
        made.publish(up)
        inside = Path(f"/proc/{served.pid}/root{small_disk}")
        for name, data in made.files.items():
            assert (await served.file(name)).body == data
        before = (await in_order(inside)).blobs

        assert (await upload(served, "beta-1.0-py3-none-any.whl", wheel)).status == 200
        assert (await in_order(inside)).blobs < before
        refused = await upload(served, "beta-2.0-py3-none-any.whl", larger)
        assert (refused.status, refused.line) == (507, "the disk is full")
        page = await served.page("beta")
        assert [file["filename"] for file in page.json()["files"]] == ["beta-1.0-py3-none-any.whl"]
        assert list((inside / "local" / "tmp").iterdir()) == []
        assert await served.stop() == 0


# ---------------------------------------------------------------------- few descriptors


async def test_few_descriptors__many_clients__all_are_served_in_turn(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = Project("alpha")
        for number in range(40):
            made.add(f"alpha-{number}.0.tar.gz", noise(200_000, number))
        made.publish(up)
        async with daemon(tmp_path, one_remote(f"{up.url}simple/"), before="ulimit -n 64") as served:
            for _ in ("cold", "warm"):
                paths = [f"/pypi/main/files/up/files/{name}" for name in made.files]
                answers = await asyncio.gather(*(served.ask(path, Connection="close") for path in paths))
                assert [(a.status, a.reason) for a in answers] == [(200, "OK")] * 40
                assert all_right(answers, made.files.values())
            assert (await in_order(served.data)).blobs == 40
            assert "Traceback" not in served.stderr
