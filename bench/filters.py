"""What filters cost: a page of 5,000 files through every rule, judged anew and judged again when a file comes of age.

    python -m bench.filters [FILES]

Processor time of one thread, the median and the least of 15 rounds: the machine may be busy with other things.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from pyproxy.config import BlockEntry, FilterConfig
from pyproxy.config.filters import selector
from pyproxy.filters import Policy, policy_of, seen
from pyproxy.instants import show_instant
from pyproxy.model import File, ProjectName, as_filename, as_project, as_sha256

ROUNDS = 15
NOW = 1_790_000_000.0
DAY = 86_400.0

TAGS = (
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp312-cp312-macosx_11_0_arm64",
    "cp313-cp313-win_amd64",
    "cp313-cp313-musllinux_1_2_aarch64",
)


def page(name: str, count: int) -> tuple[File, ...]:
    """Releases of four wheels and an sdist, the last of them a day old."""
    releases = -(-count // (len(TAGS) + 1))
    found: list[File] = []
    for number in range(releases):
        version = f"{number // 100}.{number // 10 % 10}.{number % 10}"
        for tag in (*TAGS, None):
            filename = f"{name}-{version}.tar.gz" if tag is None else f"{name}-{version}-{tag}.whl"
            position = len(found)
            found.append(
                File(
                    as_filename(filename),
                    f"https://files.example/{filename}",
                    f"up~files.example/packages/{position:04x}/{filename}",
                    hashes={"sha256": f"{position:064x}"},
                    size=1_000_000 + position,
                    upload_time=show_instant(NOW - DAY * (1 + (releases - number) / 4)),
                    provenance="https://index.example/provenance",
                )
            )
    return tuple(found[:count])


def every_rule() -> Policy:
    """A policy in which each key has something to say."""
    return policy_of(
        FilterConfig(
            includes=(selector("big>=0.1"), selector("b*")),
            excludes=(selector("big==1.2.*"), selector("big==2.0.0")),
            prereleases=False,
            package_types=("bdist_wheel", "sdist"),
            exclude_platforms=("windows", "macos"),
            keep_latest_packages=500,
            min_age=7 * DAY,
            exclude_newer=NOW - DAY,
            exempt=(selector("big==9.9.9"),),
            blocked=(BlockEntry(selector=selector("big==3.0.0")), BlockEntry(digest=as_sha256("0" * 64))),
            require_provenance=True,
            max_file_size=10**9,
        )
    )


def cool_down() -> Policy:
    """What most will want."""
    return policy_of(FilterConfig(min_age=7 * DAY, exclude_platforms=("windows",), excludes=(selector("other"),)))


def spent(call: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Milliseconds of this thread: the median, the least."""
    found = []
    for _ in range(rounds):
        begun = time.thread_time()
        call()
        found.append((time.thread_time() - begun) * 1000)
    return statistics.median(found), min(found)


def measured(count: int, rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """By what is done, the milliseconds that it takes."""
    name: ProjectName = as_project("big")
    files = page(name, count)
    looked_at = seen(name, files)
    everything, usual = every_rule(), cool_down()
    return {
        "names read": spent(lambda: seen(name, files), rounds),
        "every rule, names read before": spent(lambda: everything.verdicts(name, looked_at, NOW), rounds),
        "every rule, all of it": spent(lambda: everything.verdicts(name, seen(name, files), NOW), rounds),
        "a cool-down, all of it": spent(lambda: usual.verdicts(name, seen(name, files), NOW), rounds),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    print(f"{count} files, milliseconds of processor time: median (least)")
    for what, (median, least) in measured(count).items():
        print(f"{what:30}  {median:7.1f} ({least:.1f})")


if __name__ == "__main__":
    main()
