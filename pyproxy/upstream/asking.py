"""One question to a remote: the attempts it takes, and what is remembered of its failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, TypeVar

from pyproxy.errors import FileUnknown, RemoteFailed
from pyproxy.upstream import retry
from pyproxy.upstream.answer import Answer
from pyproxy.upstream.exchange import Exchange, Question
from pyproxy.upstream.memory import FailureMemory
from pyproxy.upstream.trouble import Trouble
from pyproxy.upstream.urls import Target, target

T = TypeVar("T")
Judge = Callable[[Answer], Awaitable[T]]
"""Makes of an answer what was asked for. Raises Trouble where it is no good, FileUnknown."""


HURRY: Final = 1.0
"""Seconds before the deadline in which an attempt that runs out of time says nothing of its remote."""


class Asking:
    """Asks one remote, patiently, and not at all while it is known to fail."""

    def __init__(self, exchange: Exchange, memory: FailureMemory, *, remote: str, retries: int) -> None:
        self._exchange = exchange
        self._memory = memory
        self._remote = remote
        self._retries = retries

    async def ask(self, question: Question, judge: Judge[T], *, keep_open: bool = False) -> T:
        """What `judge` makes of the answer. Raises RemoteFailed, and what `judge` raises but Trouble.

        The answer is closed, unless it shall stay open for who has what `judge` made of it.
        """
        try:
            to = target(question.url)
        except Trouble as trouble:
            raise self.as_error(trouble) from trouble
        keys: tuple[Hashable, Hashable] = (to.origin, (question.kind, question.method, question.url))
        if (remembered := self._memory.refusal(keys)) is not None:
            raise remembered
        began = self._memory.now()
        try:
            found = await self._attempts(question, to, judge, keep_open=keep_open)
        except Trouble as trouble:
            error = self.as_error(trouble)
            self._remember(keys, trouble, error, began)
            raise error from trouble
        except FileUnknown:
            self._clear(keys)
            raise
        except BaseException:
            # Nobody waits for the outcome any more, or the trouble is our own.
            for key in keys:
                self._memory.left(key)
            raise
        self._clear(keys)
        return found

    def as_error(self, trouble: Trouble) -> RemoteFailed:
        return trouble.as_error(self._remote)

    async def _attempts(self, question: Question, to: Target, judge: Judge[T], *, keep_open: bool) -> T:
        loop = asyncio.get_running_loop()
        attempt = 0
        before: Trouble | None = None
        while True:
            began = loop.time()
            try:
                return await self._attempt(question, to, judge, keep_open=keep_open)
            except Trouble as trouble:
                hurried = trouble.ours or (trouble.timeout and question.deadline - began < HURRY)
                if hurried and before is not None:
                    # There was no time left for this one: the attempt before tells what is wrong.
                    raise before from None
                before = trouble
                wait = retry.pause(attempt, random.random())  # noqa: S311 - jitter is no secret
                if trouble.retry_after is not None:
                    wait = max(wait, trouble.retry_after)
                late = wait > retry.SMALL_RETRY_AFTER or loop.time() + wait >= question.deadline
                if late or not trouble.again or attempt >= self._retries:
                    raise
            attempt += 1
            await asyncio.sleep(wait)

    async def _attempt(self, question: Question, to: Target, judge: Judge[T], *, keep_open: bool) -> T:
        answer = await self._exchange.send(question, to)
        try:
            found = await judge(answer)
        except BaseException as exc:
            answer.close(exc)
            raise
        if not keep_open:
            answer.close()
        return found

    def _remember(self, keys: tuple[Hashable, Hashable], trouble: Trouble, error: RemoteFailed, began: float) -> None:
        origin, document = keys
        if trouble.ours:
            self._memory.left(origin)
            self._memory.left(document)
        elif trouble.unconnected:
            self._memory.failed(origin, error, began=began)
            self._memory.left(document)
        else:
            self._memory.succeeded(origin)
            self._memory.failed(document, error, began=began, wait=trouble.retry_after)

    def _clear(self, keys: tuple[Hashable, Hashable]) -> None:
        for key in keys:
            self._memory.succeeded(key)
