"""A file as a remote sends it, whole or from an offset."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from pyproxy.errors import RemoteFailed
from pyproxy.upstream.answer import Answer
from pyproxy.upstream.ranges import Span, accepted
from pyproxy.upstream.trouble import Trouble
from pyproxy.upstream.values import Pace, Validators


class FileStream:
    """The answer to a request for a file. Its context manager (`Upstream.stream`) closes it.

    `status` 206 gives the part asked for; 200 gives the whole file from its first byte, whatever was asked.
    """

    def __init__(
        self, answer: Answer, span: Span, *, silence: float, pace: Pace, failed: Callable[[Trouble], RemoteFailed]
    ) -> None:
        self.status = answer.status
        self.start = span.start
        self.length = span.length
        """Bytes of this body; None where only its end tells."""
        self.total = span.total
        """Bytes of the file; None where the remote does not tell."""
        self.framed = answer.framed or span.length is not None
        """False: the body ends with the connection, so a cut one looks like a whole one."""
        self.validators: Validators = answer.validators
        self.accepts_ranges = accepted(answer.status, answer.headers)
        self.content_type = answer.content_type
        self._answer = answer
        self._silence = silence
        self._pace = pace
        self._failed = failed

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they come, at most 1 MiB at once. Raises RemoteFailed: they end early, stall or trickle."""
        try:
            async for chunk in self._answer.chunks(silence=self._silence, expected=self.length, pace=self._pace):
                yield chunk
        except Trouble as trouble:
            raise self._failed(trouble) from trouble

    async def lent(self) -> AsyncIterator[bytes | memoryview]:
        """The same, each holding only until the next is asked for: those of a long file lie in one buffer."""
        try:
            async for piece in self._answer.lent(silence=self._silence, expected=self.length, pace=self._pace):
                yield piece
        except Trouble as trouble:
            raise self._failed(trouble) from trouble

    def more(self, limit: int) -> memoryview:
        """In the thread that has used a lent piece: at most `limit` bytes more that have come, lent in its place."""
        return self._answer.more(limit)

    def close(self, error: BaseException | None = None) -> None:
        """Gives back the connection. `error`: what the file came to."""
        # The observer counts what the remote did, not what was made of it here.
        cause = error.__cause__ if error is not None else None
        self._answer.close(cause if isinstance(cause, Trouble) else error)
