"""The changes to a repository, each made within one write transaction as one new version, or as none.

A job returns what it did, or the error its caller is to raise: raised inside, it would undo the jobs of others that
share the transaction. Nothing is written before all that may be wrong has been looked at. A job may run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from pyproxy.errors import NothingMatches, PyproxyError
from pyproxy.model import Filename
from pyproxy.storage.environment import Txn
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import (
    Action,
    LocalFile,
    Outcome,
    RepositoryVersion,
    sidecar_key,
)
from pyproxy.storage.local_view import View, unpacked
from pyproxy.storage.specs import Spec

_SUMMARY: Final = 200
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Done:
    """What a change did, and the sidecars it left out of date."""

    outcome: Outcome
    pending: tuple[bytes, ...] = ()


Job = Callable[[Txn], Done | PyproxyError]

Clock = Callable[[], float]
"""Asked within the transaction, so that later versions are not older."""


@dataclass(slots=True)
class Change:
    """The making of one version. Nothing is written before `commit`."""

    ledger: LocalLedger
    repository: str
    action: Action
    now: float
    summary: str = ""
    added: list[LocalFile] = field(default_factory=list)
    removed: list[LocalFile] = field(default_factory=list)
    changed: list[tuple[LocalFile, LocalFile]] = field(default_factory=list)
    already: list[Filename] = field(default_factory=list)

    def commit(self, txn: Txn, *, settled: Collection[Filename] = ()) -> Done:
        """Writes the rows and the version. The sidecars of `settled` files say already what the rows will say."""
        if not self.added and not self.removed and not self.changed:
            head = self.ledger.head(txn, self.repository)
            return Done(Outcome(0 if head is None else head.latest, already=tuple(self.already)))
        head = self.ledger.begin(txn, self.repository)
        number = head.latest + 1
        for file in self.removed:
            self.ledger.close_row(txn, head, number, file)
        for old, new in self.changed:
            self.ledger.close_row(txn, head, number, old)
            self.ledger.open_row(txn, self.repository, head, number, new)
        for file in self.added:
            self.ledger.open_row(txn, self.repository, head, number, file)
        made = RepositoryVersion(
            number=number,
            created_at=self.now,
            action=self.action,
            summary=_shortened(self.summary or _named(self._touched())),
            added=len(self.added),
            removed=len(self.removed),
            changed=len(self.changed),
            files=head.files + len(self.added) - len(self.removed),
        )
        self.ledger.put_version(txn, self.repository, head, made)
        pending = tuple(
            self.ledger.mark_pending(txn, sidecar_key(self.repository, file.filename, file.digest))
            for file in self._touched()
            if file.filename not in settled
        )
        return Done(
            Outcome(
                number,
                added=_names(self.added),
                already=tuple(self.already),
                removed=_names(self.removed),
                changed=_names(new for _, new in self.changed),
            ),
            pending,
        )

    def _touched(self) -> Iterator[LocalFile]:
        yield from self.added
        yield from self.removed
        yield from (new for _, new in self.changed)


def remove(ledger: LocalLedger, repository: str, specs: Sequence[Spec], *, clock: Clock) -> Job:
    """Takes away the files that any of the specs selects."""

    def job(txn: Txn) -> Done | PyproxyError:
        selected = _selected(ledger.view(txn, repository), repository, specs)
        if isinstance(selected, PyproxyError):
            return selected
        change = Change(ledger, repository, "remove", clock(), _texts(specs))
        change.removed = selected
        return change.commit(txn)

    return job


def mark(ledger: LocalLedger, repository: str, specs: Sequence[Spec], *, yanked: bool | str, clock: Clock) -> Job:
    """Yanks the selected files (PEP 592), with the reason where it is a text, or with False takes that back."""
    action: Action = "unyank" if yanked is False else "yank"

    def job(txn: Txn) -> Done | PyproxyError:
        selected = _selected(ledger.view(txn, repository), repository, specs)
        if isinstance(selected, PyproxyError):
            return selected
        change = Change(ledger, repository, action, clock(), _texts(specs))
        for file in selected:
            if file.yanked == yanked:
                change.already.append(file.filename)
            else:
                change.changed.append((file, msgspec.structs.replace(file, yanked=yanked)))
        return change.commit(txn)

    return job


def copy(
    ledger: LocalLedger, source: str, target: str, specs: Sequence[Spec], *, version: int | None, clock: Clock
) -> Job:
    """Takes the selected files of one repository into another, as they are: yanked ones stay yanked."""

    def job(txn: Txn) -> Done | PyproxyError:
        selected = _selected(ledger.view(txn, source, version), source, specs)
        if isinstance(selected, PyproxyError):
            return selected
        head = ledger.head(txn, target)
        here = ledger.view(txn, target)
        change = Change(ledger, target, "copy", clock(), f"{_texts(specs)} from {source}")
        for file in selected:
            if (conflict := ledger.conflict(txn, head, file)) is not None:
                return conflict
            if here.file(file.project, file.filename) is not None:
                change.already.append(file.filename)
            else:
                change.added.append(file)
        return change.commit(txn)

    return job


def rollback(ledger: LocalLedger, repository: str, version: int, *, clock: Clock) -> Job:
    """Makes a version that holds exactly what an earlier one held. The job raises VersionUnknown."""

    def job(txn: Txn) -> Done | PyproxyError:
        then = dict(ledger.view(txn, repository, version).rows())
        current = dict(ledger.view(txn, repository).rows())
        change = Change(ledger, repository, "rollback", clock(), f"to version {version}")
        change.added = [unpacked(then[key]) for key in sorted(then.keys() - current.keys())]
        change.removed = [unpacked(current[key]) for key in sorted(current.keys() - then.keys())]
        change.changed = [
            (unpacked(current[key]), unpacked(then[key]))
            for key in sorted(then.keys() & current.keys())
            if then[key] != current[key]
        ]
        return change.commit(txn)

    return job


def _selected(view: View, repository: str, specs: Sequence[Spec]) -> list[LocalFile] | NothingMatches:
    found: dict[Filename, LocalFile] = {}
    for spec in specs:
        files = [file for file in view.files(spec.project) if spec.admits(file.version)]
        if not files:
            return NothingMatches(f"{spec.text} matches nothing in repository {repository}")
        found.update((file.filename, file) for file in files)
    return list(found.values())


def _texts(specs: Sequence[Spec]) -> str:
    return ", ".join(spec.text for spec in specs)


def _names(files: Iterable[LocalFile]) -> tuple[Filename, ...]:
    return tuple(file.filename for file in files)


def _named(files: Iterable[LocalFile]) -> str:
    names = list(_names(files))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _shortened(text: str) -> str:
    return text if len(text) <= _SUMMARY else text[: _SUMMARY - 3] + "..."
