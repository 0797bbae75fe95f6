import asyncio
import gc
import hashlib
import io
import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.bundle import Bundle
from model.image import Decoded, ImageLimits, decode
from predictor import pipeline
from predictor.admission import Admission
from predictor.batcher import Batcher
from predictor.engine import ENGINES
from predictor.engine.base import Batch, Engine, EngineOutput
from predictor.errors import DeadlineError, ItemError, QueueFullError
from predictor.pipeline import DISPLAY_PX, Pipeline, fit
from predictor.query import Query, Source
from tests.predictor.bundles import jpeg, phantoms, png

LATER = 60.0


class Held:
    """An engine behind a gate."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.images = 0
        self.asked_for_cam: list[bool] = []

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        self.asked_for_cam.append(want_cam)
        self.began.set()
        self.gate.wait()
        self.images += len(images)
        return self._engine.run(images, want_cam=want_cam)


class House:
    def __init__(self, bundle: Bundle, max_images: int = 16, **options: Any) -> None:
        self.held = Held(ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1))
        self.admission = Admission(max_images, images_per_second=4.0)
        self.pipeline = Pipeline(
            bundle.manifest,
            Batcher(self.held.run, 4),
            self.admission,
            ImageLimits(),
            threads=2,
            **options,
        )


@pytest.fixture
async def house(bundle: Bundle) -> AsyncIterator[House]:
    house = House(bundle)
    yield house
    house.held.gate.set()
    await house.pipeline.close()


def deadline() -> float:
    return time.monotonic() + LATER


async def test_answers_come_in_the_order_of_the_images(
    house: House, bundle: Bundle, pictures: npt.NDArray[np.uint8]
) -> None:
    answers = (
        await house.pipeline.answer(Query([png(each) for each in pictures]), deadline())
    ).answers
    engine = ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1)
    expected = engine.run(pictures, want_cam=False).probabilities
    assert np.allclose([answer.probabilities for answer in answers], expected, atol=1e-5)
    keys = bundle.manifest.class_keys
    assert [answer.label for answer in answers] == [keys[int(row.argmax())] for row in expected]
    assert len({answer.label for answer in answers}) > 1
    assert all(answer.cam is None and answer.explained_class is None for answer in answers)


async def test_pixels_and_the_file_they_came_from_get_the_same_answer(house: House) -> None:
    large = np.kron(phantoms(1)[0], np.ones((5, 5, 1), np.uint8))
    file, pixels = (await house.pipeline.answer(Query([png(large), large]), deadline())).answers
    assert np.allclose(file.probabilities, pixels.probabilities, atol=1e-6)


async def test_an_explanation_is_of_the_predicted_class_unless_another_is_named(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    images = [png(each) for each in pictures]
    own = (await house.pipeline.answer(Query(images, cam=True), deadline())).answers
    assert [answer.explained_class for answer in own] == [answer.label for answer in own]
    assert all(answer.overlay is None for answer in own)
    named = (
        await house.pipeline.answer(Query(images, cam=True, explain_class=2), deadline())
    ).answers
    assert {answer.explained_class for answer in named} == {"nodule"}
    for one, other in zip(own, named, strict=True):
        assert one.cam is not None
        assert other.cam is not None
        assert one.cam.shape == (16, 16)
        assert np.allclose(one.cam, other.cam, atol=1e-6) == (one.label == "nodule")


async def test_the_maps_of_all_classes_and_the_picture_they_belong_to_can_be_had(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    files: list[Source] = [png(pictures[0]), pictures[1]]
    whole = (await house.pipeline.answer(Query(files, cams=True, display=True), deadline())).answers
    for answer, pixels in zip(whole, pictures[:2], strict=True):
        assert answer.cam is None
        assert answer.overlay is None
        assert answer.cams is not None
        assert answer.display is not None
        with Image.open(io.BytesIO(answer.display)) as picture:
            assert np.array_equal(np.asarray(picture), pixels)
    for k in range(3):
        query = Query(files, cam=True, explain_class=k)
        for one, other in zip(
            whole, (await house.pipeline.answer(query, deadline())).answers, strict=True
        ):
            assert one.cams is not None
            assert other.cam is not None
            assert other.cams is None
            assert np.allclose(one.cams[k], other.cam, atol=1e-6)


async def test_a_picture_alone_costs_no_explanation(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    query = Query([png(pictures[0])], display=True)
    assert not query.explained
    (answer,) = (await house.pipeline.answer(query, deadline())).answers
    assert answer.display is not None
    assert answer.explained_class is None


async def test_without_an_explanation_no_stage_works_for_one(
    house: House, pictures: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    displays: list[int | None] = []

    def seen(*arguments: Any, display_px: int | None) -> Decoded:
        displays.append(display_px)
        return decode(*arguments, display_px=display_px)

    monkeypatch.setattr("predictor.pipeline.decode", seen)
    source = png(pictures[0])
    (plain,) = (await house.pipeline.answer(Query([source]), deadline())).answers
    assert (plain.cam, plain.overlay, plain.explained_class) == (None, None, None)
    (mapped,) = (await house.pipeline.answer(Query([source], cam=True), deadline())).answers
    assert mapped.cam is not None
    assert mapped.overlay is None
    await house.pipeline.answer(Query([source], overlay=True), deadline())
    assert house.held.asked_for_cam == [False, True, True]
    assert displays == [None, None, DISPLAY_PX]


@pytest.mark.parametrize("shape", [(200, 100), (2000, 400), (64, 64)])
async def test_the_overlay_keeps_the_shape_of_the_original(
    house: House, shape: tuple[int, int]
) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[10:40, 10:40] = 200
    sources: list[Source] = [jpeg(pixels), pixels]
    answers = (await house.pipeline.answer(Query(sources, overlay=True), deadline())).answers
    for answer in answers:
        assert answer.overlay is not None
        assert answer.cam is None
        with Image.open(io.BytesIO(answer.overlay)) as picture:
            assert max(picture.size) <= DISPLAY_PX
            assert picture.width / picture.height == pytest.approx(shape[1] / shape[0], rel=0.05)


async def test_the_first_unusable_image_is_named_and_others_requests_are_answered(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    good = png(pictures[0])
    bad = asyncio.gather(
        *(
            house.pipeline.answer(Query([good, b"\xff\xd8\xffbroken", b""]), deadline())
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    answers = await asyncio.gather(
        *(house.pipeline.answer(Query([good]), deadline()) for _ in range(5))
    )
    assert len(answers) == 5
    for error in await bad:
        assert isinstance(error, ItemError)
        assert str(error).startswith("image 1: damaged JPEG image")
    assert house.admission.images == 0


async def test_images_count_from_admission_to_their_answer(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    house.held.gate.clear()
    images = [png(each) for each in pictures]
    waiting = [
        asyncio.create_task(house.pipeline.answer(Query(images), deadline())) for _ in range(2)
    ]
    await asyncio.sleep(0)
    assert house.admission.images == 16
    with pytest.raises(QueueFullError) as caught:
        await house.pipeline.answer(Query(images[:1]), deadline())
    assert caught.value.retry_after_s == 4.0
    house.held.gate.set()
    await asyncio.gather(*waiting)
    assert house.admission.images == 0
    await house.pipeline.answer(Query(images[:1]), deadline())


async def test_a_request_that_is_given_up_is_not_computed(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    house.held.gate.clear()
    first = asyncio.create_task(house.pipeline.answer(Query([png(pictures[0])]), deadline()))
    await asyncio.to_thread(house.held.began.wait)
    images = [png(each) for each in pictures]
    given_up = asyncio.create_task(house.pipeline.answer(Query(images), deadline()))
    await asyncio.sleep(0.05)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert house.admission.images == 1
    house.held.gate.set()
    await first
    await house.pipeline.answer(Query(images[:1]), deadline())
    assert house.held.images == 2


async def test_the_deadline_ends_a_request_even_while_the_engine_is_stuck(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    house.held.gate.clear()
    with pytest.raises(DeadlineError):
        await house.pipeline.answer(Query([png(pictures[0])]), time.monotonic() + 0.05)
    with pytest.raises(DeadlineError):
        await house.pipeline.answer(Query([png(pictures[0])]), time.monotonic() - 1.0)
    assert house.admission.images == 0


async def test_stages_are_timed(house: House, pictures: npt.NDArray[np.uint8]) -> None:
    timings = (
        await house.pipeline.answer(Query([png(pictures[0])], overlay=True), deadline())
    ).timings
    assert all(seconds > 0 for seconds in timings.stages().values())
    assert set(timings.milliseconds()) == {"decode_ms", "queue_ms", "infer_ms", "encode_ms"}


def test_large_pixels_are_shrunk_for_display_and_small_ones_kept() -> None:
    small = phantoms(1)[0]
    assert fit(small) is small
    assert fit(np.zeros((100, 2048, 3), np.uint8)).shape == (25, 512, 3)
    assert fit(np.zeros((4000, 8, 3), np.uint8)).shape == (512, 1, 3)


class Gate:
    """Holds every call of a function until it is opened, and counts those that began."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.opened = threading.Event()
        self.began = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.began += 1
        # A failed test must not leave a thread that is never let go.
        self.opened.wait(LATER)
        return self._function(*arguments, **options)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LATER / 4
    for _ in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


async def give_up(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("stage", ["resize_pixels", "overlay_png"])
async def test_what_waits_for_a_thread_is_dropped_with_its_request_and_forgotten_at_once(
    house: House,
    pictures: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    gate = Gate(getattr(pipeline, stage))
    monkeypatch.setattr(pipeline, stage, gate)
    images: list[Any] = [np.kron(pictures[0], np.ones((2, 2, 1), np.uint8)) for _ in range(16)]
    watched = [weakref.ref(each) for each in images]
    tasks = [
        asyncio.create_task(house.pipeline.answer(Query([each], overlay=True), deadline()))
        for each in images
    ]
    images.clear()
    # Two threads: two are held in the stage, and the others wait for a thread.
    await until(lambda: gate.began == 2)
    await asyncio.sleep(0.05)
    await give_up(tasks)
    tasks.clear()
    # Only what a thread is busy with may be left.
    await until(lambda: gc.collect() >= 0 and sum(each() is not None for each in watched) <= 2)
    assert house.admission.images == 0
    gate.opened.set()
    await house.pipeline.answer(Query([pictures[0]], overlay=True), deadline())
    assert gate.began == 3


async def test_a_parse_that_waits_is_dropped_with_its_request(house: House) -> None:
    gate = Gate(lambda: "parsed")
    waiting = [
        asyncio.create_task(house.pipeline.parse(lambda: gate(), deadline())) for _ in range(9)
    ]
    await until(lambda: gate.began == 1)
    await give_up(waiting)
    gate.opened.set()
    assert await house.pipeline.parse(lambda: gate(), deadline()) == "parsed"
    assert gate.began == 2


async def test_nothing_is_begun_after_the_deadline(
    house: House, pictures: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(decode)
    monkeypatch.setattr(pipeline, "decode", gate)
    with pytest.raises(DeadlineError, match="before it was begun"):
        await house.pipeline.answer(Query([png(pictures[0])]), time.monotonic() - 0.001)
    late = [
        asyncio.create_task(
            house.pipeline.answer(Query([png(pictures[0])]), time.monotonic() + 0.05)
        )
        for _ in range(8)
    ]
    for result in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(result, DeadlineError)
    gate.opened.set()
    await house.pipeline.answer(Query([png(pictures[0])]), deadline())
    assert gate.began == 3, "two were in a thread already when their time was over"


async def test_stages_are_counted_as_images_come_to_them(
    bundle: Bundle, pictures: npt.NDArray[np.uint8]
) -> None:
    counts: Counter[str] = Counter()
    house = House(bundle, on_stage=lambda stage: counts.update([stage]))
    await house.pipeline.answer(Query([png(each) for each in pictures], overlay=True), deadline())
    with pytest.raises(ItemError):
        await house.pipeline.answer(Query([png(pictures[0]), b""]), deadline())
    await house.pipeline.close()
    assert counts == {"admitted": 10, "decoded": 10, "drawn": 8}


async def test_the_hash_of_an_image_is_taken_only_when_it_is_wanted(
    bundle: Bundle, house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    file, pixels = png(pictures[0]), pictures[1]
    query = Query([file, memoryview(file), pixels])
    plain = (await house.pipeline.answer(query, deadline())).answers
    assert [answer.sha256 for answer in plain] == [None] * 3
    hashing = House(bundle, hashed=True)
    hashed = (await hashing.pipeline.answer(query, deadline())).answers
    await hashing.pipeline.close()
    of_file, of_pixels = hashlib.sha256(file).hexdigest(), hashlib.sha256(pixels.tobytes())
    assert [answer.sha256 for answer in hashed] == [of_file, of_file, of_pixels.hexdigest()]


async def test_thousands_of_requests_at_once_each_get_their_own_answer(bundle: Bundle) -> None:
    """Tagged images through the real decoder; the engine is a stand-in that reads the tag."""

    def read_tags(images: Batch, *, want_cam: bool) -> EngineOutput:
        time.sleep(0.001)
        tag = images[:, 0, 0, 0] * 256.0 + images[:, 0, 0, 1]
        values = np.stack([tag, -tag, -tag], axis=1).astype(np.float32)
        cam = np.broadcast_to(values[:, :, None, None], (len(tag), 3, 2, 2)) if want_cam else None
        return EngineOutput(values, values, cam)

    batches: list[int] = []
    batcher = Batcher(read_tags, 8, batches.append)
    pipe = Pipeline(bundle.manifest, batcher, Admission(10_000), ImageLimits(), threads=2)
    outcomes: Counter[str] = Counter()

    async def ask(number: int) -> None:
        tags = [number * 3 + index for index in range(1 + number % 3)]
        images = [png(np.full((64, 64, 3), (*divmod(tag, 256), 0), np.uint8)) for tag in tags]
        kind = "broken" if number % 17 == 3 else "given up" if number % 13 == 5 else "answered"
        if kind == "broken":
            images[-1] = images[-1][:60]
        query = Query(images, cam=number % 2 == 0, explain_class=0)
        task = asyncio.create_task(pipe.answer(query, deadline()))
        if kind == "given up":
            await asyncio.sleep(0.001 * (number % 300))
            task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, asyncio.CancelledError):
            assert kind == "given up"
        elif isinstance(result, ItemError):
            assert (kind, result.index) == ("broken", len(tags) - 1)
        else:
            assert not isinstance(result, BaseException), result
            assert [int(answer.probabilities[0]) for answer in result.answers] == tags
            for answer, tag in zip(result.answers, tags, strict=True):
                assert (answer.cam is not None) == (number % 2 == 0)
                assert answer.cam is None or float(answer.cam[1, 1]) == tag
        outcomes[type(result).__name__] += 1

    await asyncio.gather(*(ask(number) for number in range(3000)))
    await pipe.close()
    assert outcomes["ItemError"] == 177
    assert outcomes["Answers"] + outcomes["CancelledError"] == 3000 - 177
    assert outcomes["Answers"] >= 3000 - 177 - 231
    assert max(batches) == 8
