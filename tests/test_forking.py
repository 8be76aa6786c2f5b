"""A forked process is, as far as it and its parent can tell, one that was begun with `python -m`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.forking import AsyncForked

PROBE = """\
import os, sys
print(sys.argv[1:], os.getcwd(), dict(os.environ), __name__, sys.path[0])
# Some builds of libffi hold their own file open.
folder = os.open("/proc/self/fd", os.O_RDONLY)
others = sorted(int(fd) for fd in os.listdir(folder) if int(fd) < folder)
print([fd for fd in others if "libffi" not in os.readlink(f"/proc/self/fd/{{fd}}")], repr(sys.stdin.read()))
print("to stderr", file=sys.stderr)
{end}
"""


async def ran(folder: Path, *arguments: str, end: str = "") -> tuple[int, str, str]:
    (folder / "probe.py").write_text(PROBE.format(end=end))
    process = await AsyncForked.begun("probe", *arguments, cwd=folder, env={"A": "b"})
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_process__has_its_own_arguments_folder_environment_and_no_file_of_others(tmp_path: Path) -> None:
    code, out, err = await ran(tmp_path, "one", "-2")

    assert (code, err) == (0, "to stderr\n")
    assert out.splitlines() == [
        f"['one', '-2'] {tmp_path} {{'A': 'b'}} __main__ {tmp_path}",
        "[0, 1, 2] ''",
    ]


@pytest.mark.parametrize(
    ("end", "code", "last"),
    [
        ("sys.exit(3)", 3, "to stderr"),
        ("raise ValueError('seen')", 1, "ValueError: seen"),
        ("import atexit; atexit.register(print, 'at the end', file=sys.stderr)", 0, "at the end"),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, "to stderr"),
    ],
)
async def test_process__ends_as_it_would(tmp_path: Path, end: str, code: int, last: str) -> None:
    ended, _, err = await ran(tmp_path, end=end)

    assert (ended, err.splitlines()[-1]) == (code, last)


async def test_process__killed__is_known_to_whoever_waits_and_leaves_nobody(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = await AsyncForked.begun("probe", cwd=tmp_path, env={})
    assert await process.stdout.readline() == b"here\n"
    assert process.returncode is None
    process.kill()

    assert await process.wait() == -signal.SIGKILL
    assert await process.communicate() == (b"", b"")
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
