"""Whether an index can be read to its end, asked in a process of its own: `python -m pyproxy.storage.check FOLDER`.

Reading a damaged LMDB file may end in SIGBUS, in an abort or in a loop; here it ends nobody else. Exit code 0: sound;
1: damaged, with the reason on stderr; 2: could not look. Imports nothing of pyproxy, so that it starts quickly.
"""

from __future__ import annotations

import sys
from typing import Final

import lmdb

SOUND: Final = 0
DAMAGED: Final = 1
UNKNOWN: Final = 2

_MAX_DBS: Final = 64
_PROBE: Final = 1 << 16

_SIGNS_OF_DAMAGE: Final = (
    lmdb.BadDbiError,
    lmdb.BadTxnError,
    lmdb.BadValsizeError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.NotFoundError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)


def main(arguments: list[str]) -> int:
    """Looks at the index in the folder that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m pyproxy.storage.check FOLDER\n")
        return UNKNOWN
    try:
        reason = damage(arguments[0])
    except _SIGNS_OF_DAMAGE as exc:
        reason = type(exc).__name__
    except lmdb.Error as exc:
        sys.stderr.write(f"{exc}\n")
        return UNKNOWN
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return DAMAGED
    return SOUND


def damage(path: str) -> str | None:
    """What is wrong with the index, None where it can be read and written. Raises lmdb.Error, or dies."""
    with lmdb.open(path, max_dbs=_MAX_DBS, max_readers=1024, create=False) as env:
        with env.begin() as main, main.cursor() as tables:
            names = list(tables.iternext(values=False))
        for name in names:
            table = env.open_db(name, create=False)
            with env.begin(buffers=True) as txn, txn.cursor(db=table) as cursor:
                count = 0
                for key, value in cursor:
                    bytes(key[:1]), bytes(value[-1:])  # a value's last page is read too
                    count += 1
                told = txn.stat(table)["entries"]
            if count != told:
                return f"table {name.decode(errors='replace')} has {count} entries and says {told}"
        _probe(env)
    return None


def _probe(env: lmdb.Environment) -> None:
    """Begins to write, which reads the list of free pages, and takes it back."""
    txn = env.begin(write=True)
    try:
        txn.put(b"probe", bytes(_PROBE))
    except lmdb.MapFullError:
        return  # this process opened it with the map it has, which may be full
    finally:
        txn.abort()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
