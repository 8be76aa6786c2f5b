"""The files that a configuration is made of: read whole, bounded, and remembered with their stamps."""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

from pyproxy.config import values
from pyproxy.config.settings import Stamp
from pyproxy.config.values import Wrong
from pyproxy.model import printable
from pyproxy.secret import Secret

_LARGEST_SECRET = 1 << 16
_LARGEST_PEM = 1 << 24

# A file written in place may change while it is read; a writer that never ends is not waited for.
_TRIES = 5


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp now; None where it cannot be seen."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


class Files:
    """Reads files and environment for one load; relative paths are below `folder`.

    `stamps` holds every file that was asked for, also those that could not be read: each is worth another look once it
    changes.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.stamps: dict[Path, Stamp | None] = {}
        self._env = env

    def path(self, raw: object) -> Path:
        """A path as the file gives it, made absolute. Raises Wrong."""
        return values.path(raw, folder=self.folder)

    def read(self, path: Path, *, limit: int) -> bytes:
        """The file's bytes. Raises Wrong, which says why not and never what is in it."""
        self.stamps[path] = None
        try:
            for _ in range(_TRIES):
                # Without O_NONBLOCK a pipe that nobody writes to would hold us here for ever.
                with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as source:
                    before = os.fstat(source.fileno())
                    if not stat.S_ISREG(before.st_mode):
                        raise Wrong(f"{path} is not a file")
                    raw = source.read(limit + 1)
                    after = os.fstat(source.fileno())
                if _stamp(before) == _stamp(after):
                    break
        except OSError as exc:
            raise Wrong(f"cannot read {path}: {exc.strerror or type(exc).__name__}") from None
        self.stamps[path] = _stamp(before)
        if len(raw) > limit:
            raise Wrong(f"{path} is larger than {limit} bytes")
        return raw

    def secret(self, value: object) -> Secret:
        """`env:NAME`, `file:PATH`, or the text itself. Raises Wrong, whose words never hold the secret."""
        if not isinstance(value, str):
            # YAML may have made a number of it, so what stands there is not shown.
            raise Wrong("must be text: env:NAME, file:PATH, or the text itself in quotes")
        kind, colon, name = value.partition(":")
        if colon and kind == "env":
            found = self._from_environment(name)
        elif colon and kind == "file":
            found = self._from_file(self.path(name))
        else:
            found = value
        if not found:
            raise Wrong("must not be empty")
        return Secret(found)

    def _from_environment(self, name: str) -> str:
        shown = printable(name).strip("'")
        if name not in self._env:
            raise Wrong(f"environment variable {shown} is not set")
        if not self._env[name]:
            raise Wrong(f"environment variable {shown} is empty")
        return self._env[name]

    def _from_file(self, path: Path) -> str:
        raw = self.read(path, limit=_LARGEST_SECRET)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise Wrong(f"{path} does not hold UTF-8 text") from None
        # Editors and `echo` end a file with a newline that is no part of the secret.
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            raise Wrong(f"{path} is empty")
        if "\n" in text or "\r" in text:
            raise Wrong(f"{path} holds more than one line")
        return text

    def authorities(self, path: Path) -> str:
        """A digest of the file, once a TLS library has taken it as a bundle of authorities. Raises Wrong."""
        digest = self._digest(path)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError, ValueError):
            raise Wrong(f"{path} holds no certificate in PEM form") from None
        return digest

    def identity(self, cert: Path, key: Path | None) -> str:
        """A digest of the files, once a TLS library has taken them as certificate and key. Raises Wrong."""
        digest = self._digest(cert) + (self._digest(key) if key else "")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            # With no password given here, an encrypted key would ask the terminal for one.
            context.load_cert_chain(cert, key, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError):
            files = f"{cert} and {key} hold" if key else f"{cert} holds"
            raise Wrong(f"{files} no certificate with its key, unencrypted and in PEM form") from None
        return digest

    def _digest(self, path: Path) -> str:
        return hashlib.sha256(self.read(path, limit=_LARGEST_PEM)).hexdigest()
