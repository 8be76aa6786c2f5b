"""What the tests of repositories let a process of its own do: `python -m tests.storage.local_child WHAT FOLDER`."""

from __future__ import annotations

import asyncio
import random
import resource
import sys
from functools import partial
from pathlib import Path

from pyproxy.errors import FileExists, NothingMatches, StoreTrouble
from pyproxy.storage.repository import Repositories, open_local
from tests.storage.child import UNLIMITED, Running, say
from tests.storage.child import child as of_any_module
from tests.storage.repositories import REPO, add, digest_of, names, new_file, read

child = partial(of_any_module, module="tests.storage.local_child")

LocalRunning = partial(Running, module="tests.storage.local_child")


def content(name: str) -> bytes:
    """The bytes of a file, as its name says: what is found later can be checked without a journal of contents."""
    return random.Random(name).randbytes(1 + random.Random(f"size of {name}").randrange(6000))


async def upload(repositories: Repositories, name: str, repo: str = REPO) -> None:
    new = new_file(repositories, name, content(name), metadata=name.encode() * 9, attestations=name.encode())
    outcome = await repositories.add(repo, [new])
    say(f"{repo} {outcome.version} {name}")


async def busy(path: Path, seed: str) -> None:
    """Adds files from four callers at once and says so, for ever; now and then it yanks, copies, removes, prunes."""
    repositories = open_local(path, exclusive=True)
    say("open")
    await repositories.reconcile()
    varied = random.Random(seed)

    async def caller(number: int) -> None:
        for at in range(1_000_000):
            name = f"p{number}-{seed}.{at}.tar.gz"
            await upload(repositories, name)
            drawn = varied.random()
            try:
                if drawn < 0.1:
                    await repositories.yank(REPO, [f"p{number}=={seed}.{at}"], "broken")
                    say(f"yanked {name}")
                elif drawn < 0.15:
                    await repositories.copy(REPO, "stable", [f"p{number}=={seed}.{at}"])
                    say(f"stable {repositories.latest('stable')} {name}")
                elif drawn < 0.2:
                    say(f"removing {name}")
                    await repositories.remove(REPO, [f"p{number}=={seed}.{at}"])
                    say(f"removed {name}")
                elif drawn < 0.22:
                    await repositories.prune(REPO, 20)
            except NothingMatches:
                say("nothing")

    await asyncio.gather(*map(caller, range(4)))


async def once(path: Path, _: str) -> None:
    """A bit of everything, step by step."""
    repositories = open_local(path, exclusive=True)
    await upload(repositories, "a-1.0.tar.gz")
    await upload(repositories, "b-1.0.tar.gz")
    await repositories.yank(REPO, ["a"])
    say("yanked a-1.0.tar.gz")
    say("removing b-1.0.tar.gz")
    await repositories.remove(REPO, ["b"])
    say("removed b-1.0.tar.gz")
    await repositories.prune(REPO, 1)
    say("pruned")
    repositories.close()


async def beside(path: Path, name: str) -> None:
    """One of several processes that write into one repository; some of the files are the same for all."""
    repositories = open_local(path, exclusive=False)
    say("open")
    sys.stdin.readline()
    for at in range(0, 40, 4):
        await asyncio.gather(*(upload(repositories, f"{name}-{number}.tar.gz") for number in range(at, at + 4)))
        await upload(repositories, f"shared-{at}.tar.gz")
        try:
            await add(repositories, f"fought-{at}.tar.gz", name.encode())
            say(f"won {at}")
        except FileExists:
            say(f"lost {at}")
    repositories.close()
    say("done")


async def limited(path: Path, _: str) -> None:
    """Meets a disk that refuses, for files and for the index, and that takes again."""
    repositories = open_local(path, exclusive=True)
    await add(repositories, "small-1.tar.gz", b"small")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        await add(repositories, "large-1.tar.gz", bytes(150_000))
    except StoreTrouble as exc:
        say(f"file: {type(exc).__name__} {exc}")
    stored = []
    try:
        for at in range(1000):
            await add(repositories, f"many-{at}.tar.gz", b"%d" % at)
            stored.append(at)
    except StoreTrouble as exc:
        say(f"index: {type(exc).__name__} {exc}")
    say(f"read: {read(repositories, digest_of(b'small'))!r} {len(names(repositories)) == len(stored) + 1}")
    resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
    await add(repositories, "large-1.tar.gz", bytes(150_000))
    say(f"later: {repositories.trouble} {repositories.latest(REPO) == len(stored) + 2}")
    repositories.close()


async def hold(path: Path, _: str) -> None:
    """Has the store open until it is told to let go."""
    repositories = open_local(path, exclusive=False)
    say("open")
    sys.stdin.readline()
    repositories.close()


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2]), sys.argv[3]))
