"""Rendered lists on disk: whole or made again, those in use kept, nothing left behind by a daemon that was killed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pyproxy import list_renderings as module
from pyproxy import lists_folder
from pyproxy.fellows import alone
from pyproxy.index.protocol import Names
from pyproxy.list_renderings import KEPT, ListRenderings
from pyproxy.listing import body_in
from pyproxy.lists_folder import sweep
from pyproxy.simple_api import Kind


def inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def named(folder: Path, *names: str) -> Names:
    text = "".join(f"{name}\n" for name in names)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = folder / f"up.{digest[:16]}.names"
    path.write_text(text)
    return Names(path, digest)


async def test_get__folder_that_lost_a_file__is_rendered_again(tmp_path: Path) -> None:
    lists = ListRenderings(tmp_path, alone().turns)
    names = {"up": named(tmp_path, "alpha")}
    first = await lists.get(names, patience=30)
    body_in(first.folder, Kind.HTML, "zstd").unlink()
    again = await lists.get(names, patience=30)
    with again.open(Kind.HTML, "zstd") as file:
        assert file.read()
    assert not [path for path in inside(tmp_path) if ".part-" in path.name]


async def test_digest__of_another_format__is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"up": named(tmp_path, "alpha")}
    first = await ListRenderings(tmp_path, alone().turns).get(names, patience=30)
    monkeypatch.setattr(module, "FORMAT", "another")
    second = await ListRenderings(tmp_path, alone().turns).get(names, patience=30)
    assert first.digest != second.digest


async def test_sweep__a_list_in_use__outlives_those_rendered_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    lists = ListRenderings(tmp_path, alone().turns)
    used, other, third = ({"up": named(tmp_path, name)} for name in ("alpha", "beta", "gamma"))
    first, second = await lists.get(used, patience=30), await lists.get(other, patience=30)
    for age, found in ((200, first), (100, second)):
        os.utime(found.folder, (found.folder.stat().st_mtime - age,) * 2)
    await lists.get(used, patience=30)
    await lists.get(third, patience=30)
    assert first.folder.is_dir()
    assert not second.folder.exists()
    assert KEPT >= 2


async def test_remove__killed_halfway__leaves_no_folder_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"up": named(tmp_path, "alpha")}
    rendered = await ListRenderings(tmp_path, alone().turns).get(names, patience=30)

    def killed(path: Path) -> None:
        assert path != rendered.folder
        raise OSError(5, "killed here")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        lists_folder.remove(rendered.folder)
    assert not rendered.folder.exists()
    sweep(tmp_path, ["up"])
    assert [path.suffix for path in inside(tmp_path)] == [".names"]


async def test_start__what_a_killed_daemon_left__is_removed_and_the_rest_kept(tmp_path: Path) -> None:
    kept = await ListRenderings(tmp_path, alone().turns).get({"up": named(tmp_path, "alpha")}, patience=30)
    before = inside(tmp_path)
    broken = tmp_path / f"rendered-{'0' * 32}"
    shutil.copytree(kept.folder, broken)
    body_in(broken, Kind.JSON, "gzip").unlink()
    for name in ("up.17.raw", "up.17.parsed", "up.17.parsed.part-18", "gone.0123456789abcdef.names"):
        (tmp_path / name).write_text("x")
    (tmp_path / f"rendered-{'1' * 32}.part-19").mkdir()
    sweep(tmp_path, ["up", "other"])
    assert inside(tmp_path) == before
