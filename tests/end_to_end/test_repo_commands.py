"""`pyproxy repo` beside a running daemon: what each command prints, what it makes, and that it is served at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyproxy.model import Sha256
from tests.daemon import JSON, Project, Served, a_wheel, serving
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Done, pyproxy
from tests.storage.repositories import digest_of
from tests.uploading import local, upload

ONE, TWO, THREE = (f"alpha-{n}.0-py3-none-any.whl" for n in (1, 2, 3))
DISTRIBUTIONS = """\
  pinned: {repository: team, repository_version: 1}
  kept: {repository: team}
"""


async def repo(folder: Path, *arguments: str | Path) -> Done:
    return await pyproxy("repo", *arguments, "--config", folder / "pyproxy.yaml", "--data", folder / "data")


async def said(folder: Path, *arguments: str | Path) -> list[str]:
    """The lines of a command that must succeed."""
    done = await repo(folder, *arguments)
    assert (done.code, done.err) == (0, ""), done
    return done.out.splitlines()


async def told(folder: Path, *arguments: str | Path) -> Any:  # Any: JSON
    (line,) = await said(folder, *arguments, "--json")
    return json.loads(line)


async def names(served: Served, base: str = "main", name: str = "alpha") -> list[str]:
    page = await served.page(name, base)
    return [file["filename"] for file in page.json()["files"]] if page.status == 200 else []


async def filled(served: Served) -> None:
    """Versions 1 and 2: a wheel each."""
    for name, version in ((ONE, "1.0"), (TWO, "2.0")):
        assert (await upload(served, name, a_wheel("alpha", version))).status == 200


def blob(served: Served, data: bytes) -> Path:
    digest: Sha256 = digest_of(data)
    return served.data / "local" / "blobs" / digest[:2] / digest[2:4] / digest


# ---------------------------------------------------------------------- what changed


async def test_diff__of_each_change__says_what_it_was(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        first = await said(tmp_path, "diff", "team", "0", "1")
        await said(tmp_path, "yank", "team", "alpha==1.0", "--reason", "broken")
        yanked = await said(tmp_path, "diff", "team")
        await said(tmp_path, "unyank", "team", "alpha==1.0")
        unyanked = await said(tmp_path, "diff", "team", "3")
        await said(tmp_path, "remove", "team", "alpha>=2")
        since = await said(tmp_path, "diff", "team", "1", "5")
        same = await said(tmp_path, "diff", "team", "5", "5")
        back = await told(tmp_path, "diff", "team", "5", "3")

    assert first == [f"added: {ONE}", "version 0 to 1"]
    assert yanked == [f"yanked: {ONE} (broken)", "version 2 to 3"]
    assert unyanked == [f"unyanked: {ONE}", "version 3 to 4"]
    assert since == ["version 1 to 5"]
    assert same == ["version 5 to 5"]
    assert ([f["filename"] for f in back["added"]], [f["yanked"] for f in back["yanked"]]) == ([TWO], ["broken"])


async def test_diff__version_that_never_was__fails_and_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        done = await repo(tmp_path, "diff", "team", "1", "9")

    assert (done.code, done.out) == (1, "")
    assert "has no version 9: the latest is 2" in done.err


# ---------------------------------------------------------------------- pruning


async def test_prune__forgets_versions_and_drops_what_none_holds(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        await said(tmp_path, "remove", "team", "alpha==1.0")
        would = await said(tmp_path, "prune", "team", "--keep-last", "1", "--dry-run")
        assert blob(served, a_wheel("alpha", "1.0")).exists()
        did = await said(tmp_path, "prune", "team", "--keep-last", "1")
        assert not blob(served, a_wheel("alpha", "1.0")).exists()
        assert await names(served) == [TWO]
        versions = await said(tmp_path, "versions", "team")
        rollback = await repo(tmp_path, "rollback", "team", "1")

    assert would[:3] == ["would forget: version 1", "would forget: version 2", f"would drop: {ONE}"]
    assert did[:3] == ["forgotten: version 1", "forgotten: version 2", f"dropped: {ONE}"]
    assert did[3].endswith("in 1 files; 1 versions stay")
    assert len(versions) == 1
    assert (rollback.code, "it was pruned" in rollback.err) == (1, True)


async def test_prune__pinned_version__stays_and_is_served(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None) + DISTRIBUTIONS) as served:
        await filled(served)
        await said(tmp_path, "remove", "team", "alpha")
        did = await told(tmp_path, "prune", "team", "--keep-last", "1")
        shown = [await names(served, base) for base in ("pinned", "kept")]
        file = await served.ask(await served.link("alpha", "pinned"))

    assert (did["versions"], did["left"], did["pinned"], did["gone"]) == ([2], [1, 3], [1], [TWO])
    assert shown == [[ONE], []]
    assert file.body == a_wheel("alpha", "1.0")


async def test_prune__file_that_is_gone__its_name_stays_taken_also_after_a_rebuild(tmp_path: Path) -> None:
    other = a_wheel("alpha", "1.0", payload=b"other bytes")
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        await said(tmp_path, "remove", "team", "alpha==1.0")
        await said(tmp_path, "prune", "team", "--keep-last", "1")
        refused = await upload(served, ONE, other)
    assert (
        await pyproxy("verify", "--rebuild", "--config", tmp_path / "pyproxy.yaml", "--data", tmp_path / "data")
    ).code == 0
    async with serving(tmp_path, local(None)) as served:
        again = await upload(served, ONE, other)
        same = await upload(served, ONE, a_wheel("alpha", "1.0"))
        shown = await names(served)

    assert (refused.status, again.status, same.status) == (409, 409, 200)
    assert refused.line.startswith(f"File already exists: {ONE}")
    assert shown == [ONE, TWO]


async def test_prune__within_a_time__keeps_what_was_shown_then(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        lately = await told(tmp_path, "prune", "team", "--keep-within", "1h")
        never = await told(tmp_path, "prune", "team", "--keep-within", "1ms")

    assert (lately["versions"], lately["left"]) == ([], [1, 2])
    assert (never["versions"], never["left"]) == ([1], [2])


@pytest.mark.parametrize("options", [[], ["--keep-last", "0"], ["--keep-within", "5"]])
async def test_prune__without_a_word_of_what_stays__is_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        done = await repo(tmp_path, "prune", "team", *options)

    assert (done.code, done.out) == (2, "")


# ---------------------------------------------------------------------- adding


async def test_add__folder__is_one_version_and_served_at_once(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    for name, version in ((ONE, "1.0"), (TWO, "2.0")):
        (dist / name).write_bytes(a_wheel("alpha", version))
    (dist / "notes.txt").write_text("no distribution")
    async with serving(tmp_path, local(None)) as served:
        did = await told(tmp_path, "add", "team", dist)
        shown = await names(served)
        again = await told(tmp_path, "add", "team", dist)

    assert (did["version"], did["added"]) == (1, [ONE, TWO])
    assert shown == [ONE, TWO]
    assert (again["version"], again["added"], again["already"]) == (1, [], [ONE, TWO])


async def test_add__one_file_of_several_refused__adds_none(tmp_path: Path) -> None:
    good, bad = tmp_path / ONE, tmp_path / TWO
    good.write_bytes(a_wheel("alpha", "1.0"))
    bad.write_bytes(a_wheel("alpha", "3.0"))
    async with serving(tmp_path, local(None)) as served:
        done = await repo(tmp_path, "add", "team", good, bad)
        missing = await repo(tmp_path, "add", "team", tmp_path / "nothing.whl")
        shown = await names(served)

    assert (done.code, missing.code, shown) == (1, 2, [])
    assert f"{bad}: " in done.err
    assert list((tmp_path / "data" / "local" / "tmp").iterdir()) == []


def pulled(up: RawUpstream) -> Project:
    """A published project: two wheels, the first one yanked, and one that nobody has asked for."""
    made = Project("alpha")
    made.add(
        ONE,
        a_wheel("alpha", "1.0"),
        yanked="old",
        requires_python=">=3.8",
        upload_time="2020-01-02T03:04:05.000000Z",
        provenance=f"{up.url}provenance/{ONE}",
    )
    made.add(TWO, a_wheel("alpha", "2.0"))
    made.add("alpha-2.0.tar.gz", b"an sdist of old times, that no upload could be")
    made.add(THREE, a_wheel("alpha", "3.0"))
    made.publish(up)
    up.serve(f"/provenance/{ONE}", b'{"version": 1, "attestation_bundles": []}', content_type="application/json")
    return made


async def test_add_from_cache__is_kept_with_what_the_remote_said_of_it(up: RawUpstream, tmp_path: Path) -> None:
    made = pulled(up)
    async with serving(tmp_path, local(up) + DISTRIBUTIONS.splitlines()[1] + "\n") as served:
        for name, link in (await served.links()).items():
            if name != THREE:
                assert (await served.ask(link)).status == 200
        await served.ask(f"/pypi/main/integrity/alpha/1.0/{ONE}/provenance")
        await served.settled()
        did = await told(tmp_path, "add", "team", "--from-cache", "alpha")
        await up.stop()
        page = await served.page("alpha", "kept")
        links = await served.links("alpha", "kept")
        bodies = {name: (await served.ask(link)).body for name, link in links.items()}
        metadata = await served.ask(f"{links[ONE]}.metadata")
        provenance = await served.ask(f"/pypi/kept/integrity/alpha/1.0/{ONE}/provenance")

    assert (did["added"], did["left_out"]) == ([ONE, TWO, "alpha-2.0.tar.gz"], 1)
    assert bodies == {name: data for name, data in made.files.items() if name != THREE}
    first = page.json()["files"][0]
    assert (first["yanked"], first["requires-python"]) == ("old", ">=3.8")
    assert first["upload-time"] == "2020-01-02T03:04:05.000000Z"
    assert metadata.body.startswith(b"Metadata-Version: 2.1\nName: alpha\n")
    assert provenance.json() == {"version": 1, "attestation_bundles": []}


async def test_add_from_cache__what_is_not_cached__adds_nothing(up: RawUpstream, tmp_path: Path) -> None:
    pulled(up)
    async with serving(tmp_path, local(up)) as served:
        await served.ask((await served.links())[ONE])
        await served.settled()
        done = await repo(tmp_path, "add", "team", "--from-cache", "alpha==1.0", "alpha==3.0")
        versions = await said(tmp_path, "versions", "team")

    assert (done.code, versions) == (1, [])
    assert "nothing is cached that alpha==3.0 selects" in done.err


async def test_add_from_cache__cached_of_two_remotes__wants_to_be_told_which(up: RawUpstream, tmp_path: Path) -> None:
    text = local(None) + "    remote: one\n  second: {remote: two}\n"
    text = f"remotes: {{one: {{url: '{up.url}simple/'}}, two: {{url: '{up.url}other/'}}}}\n" + text
    made = Project("alpha")
    made.add(ONE, a_wheel("alpha", "1.0"))
    made.publish(up)
    other = Project("alpha")
    other.add(ONE, a_wheel("alpha", "1.0", payload=b"of somebody else"))
    up.serve(
        "/other/alpha/",
        other.as_json().replace(b"../../files", b"../../others"),
        content_type=JSON,
    )
    up.serve(f"/others/{ONE}", other.files[ONE])
    async with serving(tmp_path, text) as served:
        for base in ("main", "second"):
            assert (await served.ask((await served.links("alpha", base))[ONE])).status == 200
        await served.settled()
        unclear = await repo(tmp_path, "add", "team", "--from-cache", "alpha")
        wrong = await repo(tmp_path, "add", "team", "--from-cache", "alpha", "--remote", "three")
        did = await told(tmp_path, "add", "team", "--from-cache", "alpha", "--remote", "two")
        got = (await served.ask((await served.links())[ONE])).body

    assert (unclear.code, wrong.code) == (1, 2)
    assert "alpha is cached from several remotes (one, two)" in unclear.err
    assert did["added"] == [ONE]
    assert got == other.files[ONE]


async def test_add_from_cache__same_file_of_two_remotes__is_one(up: RawUpstream, tmp_path: Path) -> None:
    text = f"remotes: {{one: {{url: '{up.url}simple/'}}, two: {{url: '{up.url}mirror/'}}}}\n"
    text += local(None) + "    remote: one\n  second: {remote: two}\n"
    made = Project("alpha")
    made.add(ONE, a_wheel("alpha", "1.0"))
    made.publish(up)
    up.serve("/mirror/alpha/", made.as_json(), content_type=JSON)
    async with serving(tmp_path, text) as served:
        assert (await served.ask((await served.links("alpha", "second"))[ONE])).status == 200
        assert await names(served) == [ONE]
        await served.settled()
        did = await told(tmp_path, "add", "team", "--from-cache", "alpha")

    assert did["added"] == [ONE]


# ---------------------------------------------------------------------- the others


async def test_copy_list_versions_and_rollback__tell_what_they_did(tmp_path: Path) -> None:
    text = local(None).replace("{team: {}}", "{team: {}, stable: {}}") + "  stable: {repository: stable}\n"
    async with serving(tmp_path, text) as served:
        await filled(served)
        copied = await said(tmp_path, "copy", "team", "stable", "alpha==2.0")
        again = await said(tmp_path, "copy", "team", "stable", "alpha==2.0")
        promoted = await names(served, "stable")
        await said(tmp_path, "yank", "team", "alpha==1.0", "--reason", "broken")
        listed = await said(tmp_path, "list", "team")
        earlier = await said(tmp_path, "list", "team", "--version", "1")
        rows = [json.loads(line) for line in await said(tmp_path, "list", "team", "--json")]
        rolled = await said(tmp_path, "rollback", "team", "1")
        versions = [json.loads(line) for line in await said(tmp_path, "versions", "team", "--json")]

    assert copied == [f"added: {TWO}", "version 1"]
    assert again == [f"already there: {TWO}", "version 1"]
    assert promoted == [TWO]
    assert (listed, earlier) == ([f"{ONE} (yanked: broken)", TWO], [ONE])
    assert [(row["filename"], row.get("yanked", False)) for row in rows] == [(ONE, "broken"), (TWO, False)]
    assert rolled == [f"removed: {TWO}", f"changed: {ONE}", "version 4"]
    assert [(v["number"], v["action"], v["files"]) for v in versions] == [
        *((1, "upload", 1), (2, "upload", 2), (3, "yank", 2), (4, "rollback", 1)),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("list", "teem"), 2, "no repository is called teem; the configuration has team"),
        (("remove", "team", "beta"), 1, "beta matches nothing in repository team"),
        (("yank", "team", "alpha[extra]"), 2, "only a name and its versions select files"),
        (("remove", "team", "not a requirement!"), 2, "not a requirement"),
        (("rollback", "team", "9"), 1, "has no version 9: the latest is 2"),
    ],
)
async def test_command__that_cannot_be__changes_nothing_and_says_why(
    tmp_path: Path, arguments: tuple[str, ...], code: int, why: str
) -> None:
    async with serving(tmp_path, local(None)) as served:
        await filled(served)
        done = await repo(tmp_path, *arguments)
        assert served.daemon.machinery.repositories.latest("team") == 2

    assert (done.code, done.out) == (code, "")
    assert why in done.err
