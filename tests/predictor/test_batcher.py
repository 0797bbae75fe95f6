import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from model.image import Pixels
from predictor.batcher import Batcher
from predictor.engine.base import Batch, EngineOutput
from predictor.errors import DeadlineError, EngineError, NotReadyError

LATER = 60.0


class TaggedEngine:
    """Answers every image with its own tag; a gate holds it in the middle of a run."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.cams: list[bool] = []
        self.seen: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.broken_tags: set[int] = set()

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        self.began.set()
        self.gate.wait()
        tags = images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)
        self.sizes.append(len(images))
        self.cams.append(want_cam)
        self.seen.extend(int(tag) for tag in tags)
        if self.broken_tags & set(tags.tolist()):
            raise RuntimeError("out of memory")
        values = np.stack([tags, tags + 1], axis=1).astype(np.float32)
        cam = np.broadcast_to(values[:, :, None, None], (len(tags), 2, 3, 3)) if want_cam else None
        return EngineOutput(values, values, cam)


def tagged(tag: int) -> Pixels:
    return np.full((1, 1, 3), (tag % 256, tag // 256, 0), dtype=np.uint8)


def deadline() -> float:
    return time.monotonic() + LATER


async def busy(engine: TaggedEngine, batcher: Batcher) -> "asyncio.Task[object]":
    """Hold the engine in a run of tag 60000."""
    engine.gate.clear()
    engine.began.clear()
    task = asyncio.create_task(batcher.submit([tagged(60000)], want_cam=False, deadline=deadline()))
    await asyncio.to_thread(engine.began.wait)
    return task


async def test_every_answer_goes_to_its_own_request() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)

    async def ask(tag: int) -> None:
        count = 1 + tag % 3
        tags = [tag * 3 + number for number in range(count)]
        outputs = await batcher.submit(
            [tagged(each) for each in tags], want_cam=tag % 2 == 0, deadline=deadline()
        )
        assert [int(output.probabilities[0]) for output in outputs] == tags
        if tag % 2 == 0:
            assert [float(o.cam[1, 2, 2]) for o in outputs if o.cam is not None] == [
                each + 1 for each in tags
            ]

    await asyncio.gather(*(ask(tag) for tag in range(600)))
    assert max(engine.sizes) == 8
    await batcher.close()


async def test_with_lanes_every_answer_goes_to_its_own_request() -> None:
    engine, lane = TaggedEngine(), TaggedEngine()
    batcher = Batcher(engine.run, 8, lane_run=lane.run, lanes=3)

    async def ask(tag: int) -> None:
        (output,) = await batcher.submit([tagged(tag)], want_cam=False, deadline=deadline())
        assert int(output.probabilities[0]) == tag

    await asyncio.gather(*(ask(tag) for tag in range(600)))
    assert sorted(engine.seen + lane.seen) == list(range(600))
    await batcher.close()


async def test_what_comes_alone_has_all_cpus_and_what_comes_beside_it_a_lane() -> None:
    engine, lane = TaggedEngine(), TaggedEngine()
    batcher = Batcher(engine.run, 8, lane_run=lane.run, lanes=2)
    held = await busy(engine, batcher)
    await batcher.submit([tagged(1)], want_cam=False, deadline=deadline())
    engine.gate.set()
    await held
    # Only after some that were alone is it believed that one client is all there is.
    for tag in range(2, 8):
        await batcher.submit([tagged(tag)], want_cam=False, deadline=deadline())
    assert lane.seen == [1, 2, 3, 4]
    assert engine.seen == [60000, 5, 6, 7]
    await batcher.close()


async def test_beside_images_that_are_being_decoded_nothing_has_all_cpus() -> None:
    engine, lane = TaggedEngine(), TaggedEngine()
    images = 1
    batcher = Batcher(engine.run, 8, lane_run=lane.run, lanes=2, in_house=lambda: images)
    await batcher.submit([tagged(1)], want_cam=False, deadline=deadline())
    images = 2
    await batcher.submit([tagged(2)], want_cam=False, deadline=deadline())
    assert (engine.seen, lane.seen) == ([1], [2])
    await batcher.close()


async def test_lanes_share_what_waits() -> None:
    engine, lane = TaggedEngine(), TaggedEngine()
    batcher = Batcher(engine.run, 8, lane_run=lane.run, lanes=2)
    lane.gate.clear()
    images = [tagged(tag) for tag in range(6)]
    task = asyncio.create_task(batcher.submit(images, want_cam=False, deadline=deadline()))
    await asyncio.to_thread(lane.began.wait)
    lane.gate.set()
    await task
    assert max(engine.sizes + lane.sizes) == 3
    await batcher.close()


async def test_a_failure_in_a_lane_is_that_batchs_alone() -> None:
    engine, lane = TaggedEngine(), TaggedEngine()
    lane.broken_tags = {1}
    batcher = Batcher(engine.run, 8, lane_run=lane.run, lanes=2)
    held = await busy(engine, batcher)
    with pytest.raises(EngineError, match="out of memory"):
        await batcher.submit([tagged(1)], want_cam=False, deadline=deadline())
    await batcher.submit([tagged(2)], want_cam=False, deadline=deadline())
    engine.gate.set()
    await held
    assert lane.seen == [1, 2]
    await batcher.close()


async def test_an_idle_engine_is_given_a_single_image_at_once() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)
    await batcher.submit([tagged(1)], want_cam=False, deadline=deadline())
    assert engine.sizes == [1]
    await batcher.close()


async def test_what_queued_while_busy_is_the_next_batch() -> None:
    engine = TaggedEngine()
    sizes: list[int] = []
    batcher = Batcher(engine.run, 8, sizes.append)
    first = await busy(engine, batcher)
    rest = [
        asyncio.create_task(batcher.submit([tagged(tag)], want_cam=False, deadline=deadline()))
        for tag in range(11)
    ]
    await asyncio.sleep(0)
    assert batcher.depth == 11
    engine.gate.set()
    await asyncio.gather(first, *rest)
    assert sizes == engine.sizes == [1, 8, 3]
    assert batcher.depth == 0
    await batcher.close()


async def test_a_request_larger_than_a_batch_is_split() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 4)
    outputs = await batcher.submit(
        [tagged(tag) for tag in range(10)], want_cam=False, deadline=deadline()
    )
    assert [int(output.probabilities[0]) for output in outputs] == list(range(10))
    assert engine.sizes == [4, 4, 2]
    await batcher.close()


async def test_maps_are_fetched_only_when_one_of_the_batch_wants_them() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)
    await batcher.submit([tagged(1)], want_cam=False, deadline=deadline())
    await batcher.submit([tagged(2)], want_cam=True, deadline=deadline())
    assert engine.cams == [False, True]
    await batcher.close()


async def test_a_cancelled_image_is_not_computed_and_delays_nobody() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 2)
    first = await busy(engine, batcher)
    given_up = [
        asyncio.create_task(batcher.submit([tagged(tag)], want_cam=False, deadline=deadline()))
        for tag in range(50)
    ]
    kept = asyncio.create_task(batcher.submit([tagged(99)], want_cam=False, deadline=deadline()))
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    assert batcher.depth == 1
    engine.gate.set()
    await first
    assert int((await kept)[0].probabilities[0]) == 99
    assert engine.seen == [60000, 99]
    await batcher.close()


async def test_a_request_cancelled_while_it_runs_leaves_its_batch_mates_alone() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)
    first = await busy(engine, batcher)
    gone = asyncio.create_task(batcher.submit([tagged(1)], want_cam=False, deadline=deadline()))
    stays = asyncio.create_task(batcher.submit([tagged(2)], want_cam=False, deadline=deadline()))
    await asyncio.sleep(0)
    engine.began.clear()
    engine.gate.set()
    await asyncio.to_thread(engine.began.wait)
    gone.cancel()
    await first
    assert int((await stays)[0].probabilities[0]) == 2
    await batcher.close()


async def test_the_pixels_of_a_cancelled_request_leave_the_queue_before_the_engine_comes() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)
    first = await busy(engine, batcher)
    images = [tagged(tag) for tag in range(5)]
    watched = [weakref.ref(each) for each in images]
    task = asyncio.create_task(batcher.submit(images, want_cam=False, deadline=deadline()))
    del images
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del task
    await asyncio.sleep(0.01)
    gc.collect()
    assert not [True for each in watched if each() is not None]
    engine.gate.set()
    await first
    await batcher.close()
    assert engine.seen == [60000]


async def test_an_expired_image_is_dropped_before_it_is_computed() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)
    first = await busy(engine, batcher)
    late = asyncio.create_task(
        batcher.submit([tagged(1)], want_cam=False, deadline=time.monotonic() - 1.0)
    )
    in_time = asyncio.create_task(batcher.submit([tagged(2)], want_cam=False, deadline=deadline()))
    await asyncio.sleep(0)
    engine.gate.set()
    with pytest.raises(DeadlineError, match="deadline"):
        await late
    await asyncio.gather(first, in_time)
    assert engine.seen == [60000, 2]
    await batcher.close()


async def test_a_failing_run_fails_its_own_batch_only() -> None:
    engine = TaggedEngine()
    engine.broken_tags = {7}
    batcher = Batcher(engine.run, 2)
    first = await busy(engine, batcher)
    tasks = [
        asyncio.create_task(batcher.submit([tagged(tag)], want_cam=False, deadline=deadline()))
        for tag in (7, 8, 9, 10)
    ]
    await asyncio.sleep(0)
    engine.gate.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [isinstance(result, EngineError) for result in results] == [
        False,
        True,
        True,
        *[False] * 2,
    ]
    assert "out of memory" in str(results[1])
    again = await batcher.submit([tagged(11)], want_cam=False, deadline=deadline())
    assert int(again[0].probabilities[0]) == 11
    await batcher.close()


async def test_an_engine_that_answers_too_few_images_fails_the_batch() -> None:
    def short(images: Batch, *, want_cam: bool) -> EngineOutput:
        empty = np.zeros((0, 2), np.float32)
        return EngineOutput(empty, empty, None)

    batcher = Batcher(short, 8)
    with pytest.raises(EngineError, match="IndexError"):
        await batcher.submit([tagged(1)], want_cam=False, deadline=deadline())
    await batcher.close()


async def test_after_one_image_fails_the_rest_of_its_request_is_not_computed() -> None:
    engine = TaggedEngine()
    engine.broken_tags = {0}

    def slowly(images: Batch, *, want_cam: bool) -> EngineOutput:
        # Real engines take longer than the event loop needs to hear of a failure.
        time.sleep(0.002)
        return engine.run(images, want_cam=want_cam)

    batcher = Batcher(slowly, 1)
    first = await busy(engine, batcher)
    request = asyncio.create_task(
        batcher.submit([tagged(tag) for tag in range(400)], want_cam=False, deadline=deadline())
    )
    await asyncio.sleep(0)
    engine.gate.set()
    with pytest.raises(EngineError):
        await request
    await first
    await batcher.close()
    assert len(engine.seen) < 400


async def test_closing_answers_what_has_queued_and_takes_nothing_more() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 2)
    first = await busy(engine, batcher)
    queued = [
        asyncio.create_task(batcher.submit([tagged(tag)], want_cam=False, deadline=deadline()))
        for tag in range(5)
    ]
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(NotReadyError):
        await batcher.submit([tagged(9)], want_cam=False, deadline=deadline())
    engine.gate.set()
    answers = await asyncio.gather(*queued)
    assert [int(answer[0].probabilities[0]) for answer in answers] == list(range(5))
    await asyncio.gather(first, closing)


async def test_waiting_and_running_time_are_told_apart() -> None:
    engine = TaggedEngine()
    batcher = Batcher(engine.run, 8)
    first = await busy(engine, batcher)
    waiting = asyncio.create_task(batcher.submit([tagged(1)], want_cam=False, deadline=deadline()))
    await asyncio.sleep(0.02)
    engine.gate.set()
    (output,) = await waiting
    await first
    assert output.queue_s >= 0.02
    assert output.infer_s >= 0.0
    await batcher.close()
