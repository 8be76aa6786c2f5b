"""What several processes have counted, added up: counters and histograms of the dead too, gauges of the living.

Pure: a counts is bytes that one process makes of its metrics and another adds to its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

Mode: TypeAlias = Literal["sum", "first", "least"]
"""How a gauge is made of several: added up; that of whoever answers; the smallest."""

GROWING: Final = frozenset({"counter", "histogram"})
"""The types whose samples only ever grow, so that those of a process that died are kept."""

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, array_like=True):
    """All samples of one metric: by the sample's name and its labels, the value."""

    name: str
    type: str
    help: str
    samples: list[tuple[str, Labels, float]]


class Counts(msgspec.Struct, array_like=True):
    """What one process has counted. `names` are sets that are to be united, by distribution."""

    families: list[Family]
    names: dict[str, list[str]] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Counts)


def pack(counts: Counts) -> bytes:
    return _encoder.encode(counts)


def unpack(data: bytes) -> Counts:
    return _decoder.decode(data)


def remains(counts: Counts) -> Counts:
    """What is left of a process that has died: what it counted, and not what it was like."""
    return Counts([family for family in counts.families if family.type in GROWING])


def united(counted: Iterable[Counts], modes: dict[str, Mode]) -> Counts:
    """All of them as one; the first is that of whoever answers. `modes` are of gauges, which else are added up."""
    families: dict[str, tuple[Family, dict[tuple[str, Labels], float]]] = {}
    names: dict[str, set[str]] = {}
    for position, counts in enumerate(counted):
        for distribution, found in counts.names.items():
            names.setdefault(distribution, set()).update(found)
        for family in counts.families:
            _, samples = families.setdefault(family.name, (family, {}))
            mode = modes.get(family.name, "sum")
            for name, labels, value in family.samples:
                _add(samples, (name, labels), value, mode, first=position == 0)
    made = [
        Family(f.name, f.type, f.help, [(*key, v) for key, v in samples.items()]) for f, samples in families.values()
    ]
    return Counts(made, {distribution: sorted(found) for distribution, found in names.items()})


def _add(
    samples: dict[tuple[str, Labels], float], key: tuple[str, Labels], value: float, mode: Mode, *, first: bool
) -> None:
    old = samples.get(key)
    if mode == "least" or key[0].endswith("_created"):
        samples[key] = value if old is None else min(old, value)
    elif mode == "first":
        if first or old is None:
            samples[key] = value
    else:
        samples[key] = value + (old or 0.0)
