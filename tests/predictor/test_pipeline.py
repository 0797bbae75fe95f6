import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.bundle import Bundle
from model.image import Decoded, ImageLimits, decode
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
    def __init__(self, bundle: Bundle, max_images: int = 16) -> None:
        self.held = Held(ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1))
        self.admission = Admission(max_images, images_per_second=4.0)
        self.pipeline = Pipeline(
            bundle.manifest, Batcher(self.held.run, 4), self.admission, ImageLimits(), threads=2
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
