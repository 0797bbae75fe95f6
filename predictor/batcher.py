"""Images of many requests to the engine together, and each answer back to its own request.

The engine never waits for a batch to fill: while it is idle an image is run at once, and whatever
has queued while it was busy is the next batch. It runs in a thread of its own, which takes from
the queue itself, so a busy event loop does not leave it idle.

On a few CPUs there may be a lane for each. Threads that share a batch wait for one another at every
layer, and on CPUs that also decode they wait long; lanes of one thread never do. A client that is
alone in the house, and has been for some images, still has all the CPUs.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.image import Pixels
from predictor.engine.base import Batch, EngineOutput
from predictor.errors import DeadlineError, EngineError, NotReadyError


class Run(Protocol):
    """Runs a batch; see :class:`predictor.engine.base.Engine`."""

    def __call__(self, images: Batch, *, want_cam: bool) -> EngineOutput: ...


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """The graph's answer to one image.

    Attributes:
        probabilities: float32 [K].
        cam: float32 [K, h, w], or None if it was not wanted.
        queue_s: seconds until its batch began.
        infer_s: seconds that its batch took.
    """

    probabilities: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32] | None
    queue_s: float
    infer_s: float


@dataclass(slots=True, eq=False)
class _Job:
    pixels: Pixels
    want_cam: bool
    deadline: float
    queued_at: float
    future: asyncio.Future[ImageOutput]


# So many batches in turn must have been alone in the house for the next to have all the CPUs. A
# server that is busy most of the time is empty now and then, and what comes next would meet them
# taken: at 70 % of its peak it then took 35 ms of CPU an image instead of 23, and fell behind.
_LONELY = 4


class _Batch(NamedTuple):
    jobs: list[_Job]
    run: Run


class Batcher:
    """The queue before the engine.

    Args:
        run: runs uint8 [B, H, W, 3]; called from one thread at a time.
        max_batch_size: most images of a batch.
        on_batch: told the size of every batch, in the engine's thread.
        lane_run: runs a batch beside others, for all lanes at once; `run` is enough for one.
        lanes: how many batches are run at once.
        in_house: how many images there are at any stage.
    """

    def __init__(
        self,
        run: Run,
        max_batch_size: int,
        on_batch: Callable[[int], object] | None = None,
        lane_run: Run | None = None,
        lanes: int = 1,
        in_house: Callable[[], int] = lambda: 0,
    ) -> None:
        self._run = run
        self._lane_run = lane_run or run
        self._lanes = lanes if lane_run else 1
        self._in_house = in_house
        self._busy = 0
        self._lonely = _LONELY
        self._max_batch_size = max_batch_size
        self._on_batch = on_batch
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True)
            for number in range(self._lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Images that wait and whose request still waits for them."""
        with self._changed:
            return sum(not job.future.done() for job in self._queue)

    async def submit(
        self, images: Sequence[Pixels], *, want_cam: bool, deadline: float
    ) -> list[ImageOutput]:
        """Run images and wait for all of them; more than a batch holds are spread over several.

        Cancelling this drops those that have not begun.

        Args:
            images: uint8 [H, W, 3] each, of the bundle's size.
            want_cam: whether the maps are needed.
            deadline: `time.monotonic()` after which an image is not begun any more.

        Raises:
            DeadlineError: an image could not begin in time.
            EngineError: the engine failed on a batch that held one of the images.
            NotReadyError: the batcher is closed.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        jobs = [_Job(each, want_cam, deadline, now, loop.create_future()) for each in images]
        with self._changed:
            if self._closing:
                raise NotReadyError("the server is stopping")
            self._queue.extend(jobs)
            self._changed.notify(len(jobs))
        try:
            return await asyncio.gather(*(job.future for job in jobs))
        finally:
            # After a failure of one image the others are of no use either.
            for job in jobs:
                job.future.cancel()
            if any(job.future.cancelled() for job in jobs):
                self._forget(jobs)

    async def close(self) -> None:
        """Answer what has queued, then end the engine's threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _forget(self, jobs: Sequence[_Job]) -> None:
        # Their pixels must not lie in the queue until the engine comes to them: impatient clients
        # may bring new ones faster than that.
        with self._changed:
            for job in jobs:
                with suppress(ValueError):
                    self._queue.remove(job)

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            if batch.jobs:
                answers = self._answers(batch)
                with self._changed:
                    # Before the clients hear of it: their next images shall find the lane free.
                    self._busy -= 1
                for job, settle in zip(batch.jobs, answers, strict=True):
                    _post(job, settle)

    def _take(self) -> _Batch | None:
        """The next batch; empty if all that waited is of no use any more, None at the end."""
        jobs: list[_Job] = []
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            if not self._queue:
                return None
            now = time.monotonic()
            # What waits is shared among the lanes that are free.
            share = math.ceil(len(self._queue) / (self._lanes - self._busy))
            most = min(self._max_batch_size, share)
            while self._queue and len(jobs) < most:
                job = self._queue.popleft()
                if job.future.done():
                    continue
                if job.deadline <= now:
                    late = DeadlineError("the engine was not free before the request's deadline")
                    _post(job, partial(job.future.set_exception, late))
                else:
                    jobs.append(job)
            alone = self._busy == 0 and not self._queue and self._in_house() <= len(jobs)
            self._lonely = self._lonely + 1 if alone else 0
            self._busy += bool(jobs)
        return _Batch(jobs, self._run if self._lonely >= _LONELY else self._lane_run)

    def _answers(self, taken: _Batch) -> list[Callable[[], None]]:
        """What settles each job of a batch."""
        batch = taken.jobs
        started = time.monotonic()
        try:
            if self._on_batch is not None:
                self._on_batch(len(batch))
            output = taken.run(
                np.stack([job.pixels for job in batch]),
                want_cam=any(job.want_cam for job in batch),
            )
            infer_s = time.monotonic() - started
            results = [
                ImageOutput(
                    output.probabilities[index],
                    None if output.cam is None else output.cam[index],
                    started - job.queued_at,
                    infer_s,
                )
                for index, job in enumerate(batch)
            ]
        except Exception as error:  # noqa: BLE001 - whatever it is, only this batch may fail
            failures = [EngineError(f"{type(error).__name__}: {error}") for _ in batch]
            for failure in failures:
                failure.__cause__ = error
            return [
                partial(job.future.set_exception, failure)
                for job, failure in zip(batch, failures, strict=True)
            ]
        return [
            partial(job.future.set_result, result)
            for job, result in zip(batch, results, strict=True)
        ]


def _post(job: _Job, settle: Callable[[], None]) -> None:
    def in_loop() -> None:
        if not job.future.done():
            settle()

    # A loop that was torn down meanwhile has nobody left to answer.
    with suppress(RuntimeError):
        job.future.get_loop().call_soon_threadsafe(in_loop)
