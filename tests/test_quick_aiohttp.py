"""aiohttp imported without reading the system's certificates, which no request of ours uses."""

from __future__ import annotations

import subprocess
import sys

CHECK = """
import ssl
before = ssl.SSLContext.set_default_verify_paths
loaded = []
ssl.SSLContext.set_default_verify_paths = lambda self: loaded.append(self)
mine = ssl.SSLContext.set_default_verify_paths
import pyproxy.app
assert ssl.SSLContext.set_default_verify_paths is mine, "not put back"
from aiohttp import connector
print(len(loaded), connector._SSL_CONTEXT_VERIFIED.verify_mode == ssl.CERT_REQUIRED)
"""


def test_import_of_the_daemon__reads_no_certificates__and_trusts_nobody_by_default() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0 True\n", "")
