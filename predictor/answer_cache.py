"""Answers kept for images that come again: the least recently used go first."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from predictor.answer import Answer, Answers
from predictor.metrics import Metrics
from predictor.query import Query, Source, content_of

# Of the objects around an answer's arrays; measured, and rounded up.
_OVERHEAD_BYTES = 1024

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], Awaitable[T]]


class AnswerCache:
    """Holds answers of one loaded model, so its version is the same for all of them.

    A query is answered from here only if all of its images are known. Those that come at the same
    time for the first time are all computed: nobody waits for another one's request, which may be
    cancelled.

    Args:
        max_bytes: of all answers together.
        metrics: counts hits and misses, by image.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._lookups = metrics.answer_cache_lookups
        self.bytes = 0
        metrics.answer_cache_bytes.set_function(lambda: self.bytes)

    async def answers(
        self,
        query: Query,
        in_thread: InThread[list[bytes]],
        compute: Callable[[], Awaitable[Answers]],
    ) -> Answers:
        """The answers to a query, computed if need be.

        Args:
            query: what is asked.
            in_thread: runs the hashing of its images off the event loop.
            compute: answers it anew.
        """
        keys = await in_thread(lambda: [key_of(source, query) for source in query.images])
        known = self._look_up(keys)
        if known is not None:
            return Answers(known)
        computed = await compute()
        for key, answer in zip(keys, computed.answers, strict=True):
            self._put(key, answer)
        return computed

    def _look_up(self, keys: list[bytes]) -> list[Answer] | None:
        with self._lock:
            known = all(key in self._answers for key in keys)
            self._lookups.labels("hit" if known else "miss").inc(len(keys))
            if not known:
                return None
            for key in keys:
                self._answers.move_to_end(key)
            return [self._answers[key] for key in keys]

    def _put(self, key: bytes, answer: Answer) -> None:
        # A view would keep the arrays of its whole batch alive.
        own = replace(
            answer,
            probabilities=answer.probabilities.copy(),
            cam=None if answer.cam is None else answer.cam.copy(),
            cams=None if answer.cams is None else answer.cams.copy(),
        )
        size = size_of(own)
        if size > self._max_bytes:
            return
        with self._lock:
            older = self._answers.pop(key, None)
            self.bytes += size - (0 if older is None else size_of(older))
            self._answers[key] = own
            while self.bytes > self._max_bytes:
                _, dropped = self._answers.popitem(last=False)
                self.bytes -= size_of(dropped)


def key_of(source: Source, query: Query) -> bytes:
    """What an answer depends on: the image, and what was asked about it."""
    explain_class = query.explain_class if query.explained else None
    asked = (query.cam, query.overlay, query.cams, query.display, explain_class)
    shape = source.shape if isinstance(source, np.ndarray) else "encoded"
    digest = hashlib.sha256(repr((asked, shape)).encode())
    digest.update(content_of(source))
    return digest.digest()


def size_of(answer: Answer) -> int:
    """Bytes that an answer takes here."""
    arrays = (answer.probabilities, answer.cam, answer.cams)
    pictures = (answer.overlay, answer.display)
    return (
        _OVERHEAD_BYTES
        + sum(array.nbytes for array in arrays if array is not None)
        + sum(len(picture) for picture in pictures if picture is not None)
    )
