"""Connections whose last request was answered by heart: watched together, and answered many in one go.

A turn of asyncio's loop takes as long for each connection as giving such an answer; here one turn serves all of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Iterator
from typing import Final

from pyproxy.wire.memory import Answer, Memory
from pyproxy.wire.repeater import Repeater

_MOST: Final = 64
"""Connections looked at in one go."""

_LONGEST: Final = 0.002
"""Seconds after which the rest of them wait for the loop's next turn: others have their share of it."""

_READ: Final = 16 * 1024
"""Bytes of a head that are read at once; a longer one is left to aiohttp."""

_log = logging.getLogger(__name__)


class FastLane:
    """Reads for the transports of its members, which have stopped reading meanwhile.

    A member is idle, or an answer is on its way to it. Whatever it says that is not known by heart sends it back to the
    ordinary road, with all that was read.
    """

    def __init__(self, memory: Memory, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError where no descriptor is to be had."""
        self._memory = memory
        self._loop = loop
        self._members: dict[int, Repeater] = {}
        self._late: list[int] = []  # for whom there was no time in the last go
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._serve)

    def __len__(self) -> int:
        return len(self._members)

    def close(self) -> None:
        """Sends everybody back. Does nothing the second time."""
        if self._epoll.closed:
            return
        for member in list(self._members.values()):
            self.leave(member)
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def enter(self, member: Repeater) -> bool:
        """Takes in one whose next answer is known by heart; whether there is room in the kernel for it."""
        if member.fd not in self._members:
            try:
                self._epoll.register(member.fd, select.EPOLLIN)
            except OSError:
                return False
            member.wire.pause_reading()
            self._members[member.fd] = member
        return True

    def leave(self, member: Repeater) -> None:
        """Sends one back, if it is here. To be called before its socket is closed."""
        if self._members.pop(member.fd, None) is None:
            return
        self._epoll.unregister(member.fd)
        if not member.wire.is_closing():
            member.wire.resume_reading()

    def give(self, member: Repeater, answer: Answer, started: float) -> bool:
        """Gives a member an answer; whether all of it is out. Else it is sent, and counted, as the client takes it."""
        if member.give(answer, started):
            return True
        self._wait_for_room(member)
        return False

    def _wait_for_room(self, member: Repeater) -> None:
        self._epoll.modify(member.fd, select.EPOLLOUT)  # what the client says meanwhile waits in the kernel

    def _serve(self) -> None:
        """Answers whoever has asked what is known by heart, goes on with answers under way, sends all others back.

        It looks again for those who have asked meanwhile, until its time is over: the loop's own turn costs much more.
        """
        given: list[Answer] = []
        others: list[tuple[Repeater, bytes]] = []
        ends = self._loop.time() + _LONGEST
        while (events := self._ready()) and self._answer(iter(events), ends, given, others) < ends:
            pass
        _settle(given)
        _send_back(others)

    def _ready(self) -> list[tuple[int, int]]:
        """Who has asked or takes more, those first for whom there was no time: the kernel keeps one order."""
        events = self._epoll.poll(0, _MOST)
        if self._late:
            places = {fd: place for place, fd in enumerate(self._late)}
            self._late = []
            events.sort(key=lambda event: places.get(event[0], _MOST))
        return events

    def _answer(
        self, events: Iterator[tuple[int, int]], ends: float, given: list[Answer], others: list[tuple[Repeater, bytes]]
    ) -> float:
        """Adds to `given` what is to be counted, and to `others` who was sent back; the loop's time at the end."""
        clock, members, answers = self._loop.time, self._members, self._memory.answers
        # What answers rest on is looked at after the kernel has told who has asked, so it is no older than that.
        turn = self._memory.begin_turn()
        started = now = clock()
        for fd, _ in events:
            member = members[fd]
            try:
                if member.delivery is not None:
                    self._go_on(member, now)
                    now = clock()
                elif (answer := answers.get(asked := _read(fd))) is None or not (
                    answer.turn == turn or self._memory.stands(asked, answer, now)
                ):
                    self.leave(member)
                    others.append((member, asked))
                else:
                    whole, times = member.give(answer, started), member.times
                    times.heard = times.since = now = clock()
                    if not whole:
                        self._wait_for_room(member)
                    elif repeats := answer.repeats:
                        repeats.append((member.client, now - started))
                    else:
                        answer.repeats = [(member.client, now - started)]
                        given.append(answer)
            except Exception:  # noqa: BLE001 - what one has asked must not cost all others their answers
                _break_off(member)
            if now > ends:
                self._late = [fd for fd, _ in events]
                break
        return now

    def _go_on(self, member: Repeater, now: float) -> None:
        member.go_on(now)
        if member.delivery is None and member.fd in self._members:
            self._epoll.modify(member.fd, select.EPOLLIN)


def _settle(given: list[Answer]) -> None:
    """Has what was given in one go counted and logged."""
    for answer in given:
        repeats, answer.repeats = answer.repeats, []
        answer.lay_after -= len(repeats)
        try:
            answer.standing.repeated(repeats)
        except Exception:  # noqa: BLE001 - nor cost those of others their counting
            _log.exception("%d requests are not counted", len(repeats))


def _send_back(others: list[tuple[Repeater, bytes]]) -> None:
    """Has those answered on the ordinary road who have left the lane."""
    for member, asked in others:
        try:
            member.unheard(asked)
        except Exception:  # noqa: BLE001 - what those behind it have said is read already
            _break_off(member)


def _break_off(member: Repeater) -> None:
    """Ends what went wrong in a way that nobody thought of: half an answer may be out, or a request be lost."""
    _log.exception("cut: a repeated request cannot be answered")
    member.cut()


def _read(fd: int) -> bytes:
    """What has come; nothing where the connection has ended or is broken: its transport finds out which."""
    try:
        return os.read(fd, _READ)
    except OSError:
        return b""


def opened(memory: Memory, loop: asyncio.AbstractEventLoop) -> FastLane | None:
    """A lane; None where the system has none to give: then nothing is answered by heart."""
    if not hasattr(select, "epoll"):
        return None
    try:
        return FastLane(memory, loop)
    except OSError:
        return None
