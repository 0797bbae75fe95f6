"""A query to answers: decode, batch, infer, decide, draw.

Every stage drops work whose request has ended, and no request can make another one fail.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from model.decision import decide
from model.errors import ImageError
from model.image import Decoded, ImageLimits, Pixels, decode, resize_pixels
from model.manifest import Manifest
from model.overlay import overlay_png
from model.png import encode_png
from predictor.admission import Admission
from predictor.answer import Answer, Answers, Timings
from predictor.answer_cache import AnswerCache
from predictor.batcher import Batcher, ImageOutput
from predictor.errors import DeadlineError, ItemError, NotReadyError
from predictor.query import Query, Source, content_of

# Longest side of the picture that an overlay is drawn on; `display` is that picture.
DISPLAY_PX = 512

T = TypeVar("T")


class _Prepared(NamedTuple):
    pixels: Pixels
    display: Pixels | None
    sha256: str | None


class Pipeline:
    """Answers queries with one model.

    Args:
        manifest: of the bundle that the batcher's engine has loaded.
        batcher: the way to the engine.
        admission: bound on images in the house.
        limits: bounds on one image.
        threads: how many images are decoded or drawn at once.
        cache: answers to images that came before; None keeps none.
        on_stage: told of every image that is admitted, decoded or drawn; by whichever thread.
        hashed: whether answers carry the hash of their image.
    """

    def __init__(
        self,
        manifest: Manifest,
        batcher: Batcher,
        admission: Admission,
        limits: ImageLimits,
        threads: int,
        cache: AnswerCache | None = None,
        on_stage: Callable[[str], object] = lambda _: None,
        hashed: bool = False,
    ) -> None:
        self._manifest = manifest
        self._severities = [info.severity for info in manifest.classes]
        self._keys = manifest.class_keys
        self._batcher = batcher
        self._admission = admission
        self._limits = limits
        self._cache = cache
        self._on_stage = on_stage
        self._hashed = hashed
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image")
        # Of its own, so that a request can be refused while images queue for the others; and one
        # is enough, for parsing holds the interpreter's lock.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parse")
        self._closed = False

    async def answer(self, query: Query, deadline: float) -> Answers:
        """Answer every image of a query.

        Args:
            query: what is asked.
            deadline: `time.monotonic()` after which nobody waits for the answer.

        Raises:
            QueueFullError: the house is full.
            ItemError: an image is unusable; names the first one.
            DeadlineError: the deadline has passed.
            EngineError: the engine failed.
            NotReadyError: the server is stopping.
        """
        self.require_room()
        with self._admission.admit(len(query.images)):
            for _ in query.images:
                self._on_stage("admitted")
            if self._cache is None:
                return await _before(deadline, self._answer(query, deadline))
            known = self._cache.answers(
                query, self._in_thread, lambda: self._answer(query, deadline)
            )
            return await _before(deadline, known)

    def require_room(self) -> None:
        """Refuse a request that could not be admitted, before any work is put into it.

        Raises:
            QueueFullError: not even one image could be admitted.
            NotReadyError: the server is stopping.
        """
        if self._closed:
            raise NotReadyError("the server is stopping")
        with self._admission.admit(1):
            pass

    async def parse(self, work: Callable[[], T], deadline: float) -> T:
        """Parse a large request without holding up the event loop.

        Raises:
            DeadlineError: the deadline has passed.
        """
        return await _before(deadline, _in_pool(self._parser, work))

    async def close(self) -> None:
        """Take no more, answer what waits for the engine, and free the threads."""
        self._closed = True
        await self._batcher.close()
        for pool in (self._threads, self._parser):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await _in_pool(self._threads, work)

    async def _answer(self, query: Query, deadline: float) -> Answers:
        started = time.monotonic()
        timings = Timings(begun=started)
        prepared = await self._prepare(query)
        timings.decode_s = time.monotonic() - started
        outputs = await self._batcher.submit(
            [each.pixels for each in prepared], want_cam=query.explained, deadline=deadline
        )
        last = max(outputs, key=lambda output: output.queue_s + output.infer_s)
        timings.queue_s, timings.infer_s = last.queue_s, last.infer_s
        started = time.monotonic()
        answers = await self._conclude(query, prepared, outputs)
        timings.encode_s = time.monotonic() - started
        return Answers(answers, timings)

    async def _prepare(self, query: Query) -> list[_Prepared]:
        def work(source: Source) -> Callable[[], _Prepared]:
            return lambda: self._read(source, query.pictured)

        results = await asyncio.gather(
            *(_in_pool(self._threads, work(source)) for source in query.images),
            return_exceptions=True,
        )
        prepared: list[_Prepared] = []
        for index, result in enumerate(results):
            if isinstance(result, ImageError):
                raise ItemError(index, result)
            if isinstance(result, BaseException):
                raise result
            prepared.append(result)
        return prepared

    def _read(self, source: Source, pictured: bool) -> _Prepared:
        rule = self._manifest.decode
        display_px = DISPLAY_PX if pictured else None
        self._on_stage("decoded")
        if not isinstance(source, np.ndarray):
            decoded: Decoded = decode(source, rule, self._limits, display_px=display_px)
            return _Prepared(decoded.pixels, decoded.display, self._hash(source))
        pixels = np.ascontiguousarray(source)
        display = fit(pixels) if pictured else None
        return _Prepared(resize_pixels(pixels, rule), display, self._hash(pixels))

    def _hash(self, content: Source) -> str | None:
        return hashlib.sha256(content_of(content)).hexdigest() if self._hashed else None

    async def _conclude(
        self, query: Query, prepared: Sequence[_Prepared], outputs: Sequence[ImageOutput]
    ) -> list[Answer]:
        if not query.pictured:
            return [
                self._conclude_one(query, *pair) for pair in zip(prepared, outputs, strict=True)
            ]

        def work(one: _Prepared, output: ImageOutput) -> Callable[[], Answer]:
            return lambda: self._conclude_one(query, one, output)

        return await asyncio.gather(
            *(_in_pool(self._threads, work(*pair)) for pair in zip(prepared, outputs, strict=True))
        )

    def _conclude_one(self, query: Query, prepared: _Prepared, output: ImageOutput) -> Answer:
        decision = decide(output.probabilities, self._severities, self._manifest.risk)
        explained, cam, overlay, display = None, None, None, None
        if query.explained and output.cam is not None:
            index = decision.index if query.explain_class is None else query.explain_class
            explained, chosen = self._keys[index], output.cam[index]
            cam = chosen if query.cam else None
            if query.overlay and prepared.display is not None:
                self._on_stage("drawn")
                overlay = overlay_png(prepared.display, chosen)
        if query.display and prepared.display is not None:
            display = encode_png(prepared.display)
        return Answer(
            label=self._keys[decision.index],
            confidence=decision.confidence,
            risk=decision.risk,
            probabilities=output.probabilities,
            explained_class=explained,
            cam=cam,
            overlay=overlay,
            cams=output.cam if query.cams else None,
            display=display,
            sha256=prepared.sha256,
        )


async def _before(deadline: float, work: Coroutine[Any, Any, T]) -> T:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        work.close()
        raise DeadlineError("the request's deadline passed before it was begun")
    try:
        async with asyncio.timeout(left_s):
            return await work
    except TimeoutError:
        raise DeadlineError("the request's deadline passed while it was answered") from None


async def _in_pool(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    # A pool skips work that was cancelled before it began, but keeps it until a thread comes to
    # it: what it holds, an image among it, has to go at once.
    held = [work]

    def begin() -> T:
        return held.pop()()

    try:
        return await asyncio.get_running_loop().run_in_executor(pool, begin)
    finally:
        held.clear()


def fit(pixels: Pixels, longest_px: int = DISPLAY_PX) -> Pixels:
    """Shrink uint8 [h, w, 3] until its longest side is at most this."""
    longest = max(pixels.shape[:2])
    if longest <= longest_px:
        return pixels
    image = Image.fromarray(pixels)
    scale = longest_px / longest
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
