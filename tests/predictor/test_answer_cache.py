import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry

from model.bundle import Bundle
from model.image import ImageLimits
from predictor.admission import Admission
from predictor.answer import Answer
from predictor.answer_cache import AnswerCache, key_of, size_of
from predictor.batcher import Batcher
from predictor.engine import ENGINES
from predictor.engine.base import Batch, EngineOutput
from predictor.errors import ItemError
from predictor.metrics import Metrics
from predictor.pipeline import Pipeline
from predictor.query import Query
from tests.predictor.bundles import jpeg, phantoms, png


class House:
    """A pipeline with a cache, and a count of what its engine was given."""

    def __init__(self, bundle: Bundle, metrics: Metrics, max_bytes: int) -> None:
        self._engine = ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1)
        self.cache = AnswerCache(max_bytes, metrics)
        self.images = 0
        self.pipeline = Pipeline(
            bundle.manifest, Batcher(self._run, 4), Admission(256), ImageLimits(), 2, self.cache
        )

    def _run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        self.images += len(images)
        return self._engine.run(images, want_cam=want_cam)

    async def ask(self, *images: bytes | npt.NDArray[np.uint8], **asked: object) -> list[Answer]:
        query = Query(images, **asked)  # type: ignore[arg-type]
        return list((await self.pipeline.answer(query, time.monotonic() + 60.0)).answers)


@pytest.fixture
async def house(bundle: Bundle, metrics: Metrics) -> AsyncIterator[House]:
    house = House(bundle, metrics, max_bytes=1_000_000)
    yield house
    await house.pipeline.close()


def lookups(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("sightline_answer_cache_lookups_total", {"result": result})


async def test_an_image_that_comes_again_is_answered_alike_and_not_computed(
    house: House, registry: CollectorRegistry, pictures: npt.NDArray[np.uint8]
) -> None:
    for source in (png(pictures[0]), jpeg(pictures[1]), pictures[2]):
        before = house.images
        first = (await house.ask(source, overlay=True, cam=True))[0]
        second = (await house.ask(source, overlay=True, cam=True))[0]
        assert house.images == before + 1
        assert np.array_equal(first.probabilities, second.probabilities)
        assert first.cam is not None
        assert second.cam is not None
        assert np.array_equal(first.cam, second.cam)
        assert (first.label, first.risk, first.overlay) == (
            second.label,
            second.risk,
            second.overlay,
        )
    assert (lookups(registry, "miss"), lookups(registry, "hit")) == (3.0, 3.0)


async def test_what_was_not_asked_before_is_computed(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    image = png(pictures[0])
    asked: list[dict[str, object]] = [
        {},
        {"cam": True},
        {"overlay": True},
        {"cam": True, "explain_class": 1},
        {"cam": True, "explain_class": 2},
    ]
    for number, each in enumerate(asked, start=1):
        answer = (await house.ask(image, **each))[0]
        assert house.images == number
        assert (answer.cam is not None) == bool(each.get("cam"))
        assert (answer.overlay is not None) == bool(each.get("overlay"))
    # A class to explain means nothing where nothing is explained.
    await house.ask(image, explain_class=1)
    assert house.images == len(asked)


def test_pixels_of_another_shape_or_a_file_of_the_same_bytes_are_other_images() -> None:
    pixels = phantoms(1)[0]
    flat = pixels.reshape(32, 128, 3)
    keys = {key_of(source, Query([])) for source in (pixels, flat, pixels.tobytes())}
    assert len(keys) == 3
    assert key_of(pixels[::-1][::-1], Query([])) in keys


async def test_a_query_is_answered_from_the_cache_only_as_a_whole(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    one, two = png(pictures[0]), png(pictures[1])
    await house.ask(one)
    both = await house.ask(two, one)
    assert house.images == 3
    again = await house.ask(one, two)
    assert house.images == 3
    assert [answer.label for answer in again] == [answer.label for answer in both][::-1]


async def test_a_broken_image_is_named_every_time_and_never_kept(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    good = png(pictures[0])
    await house.ask(good)
    for _ in range(2):
        with pytest.raises(ItemError, match="image 1: damaged PNG"):
            await house.ask(good, good[:60])


async def test_the_same_image_at_the_same_time_gets_the_same_answer(
    house: House, pictures: npt.NDArray[np.uint8]
) -> None:
    images = [png(each) for each in pictures]
    expected = [(await house.ask(image))[0].probabilities for image in images]
    fresh = [png(each + 1) for each in pictures]
    jobs = [house.ask(image) for _ in range(6) for image in (*images, *fresh)]
    # Some clients give up; those who ask the same must not notice.
    tasks = [asyncio.ensure_future(job) for job in jobs]
    await asyncio.sleep(0.005)
    for task in tasks[8:16]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for index, result in enumerate(results):
        if isinstance(result, list) and index % 16 < 8:
            assert np.array_equal(result[0].probabilities, expected[index % 8])
        elif not isinstance(result, list):
            assert isinstance(result, asyncio.CancelledError)
            assert 8 <= index < 16
    last = [(await house.ask(image))[0].probabilities for image in fresh]
    for index, result in enumerate(results):
        if isinstance(result, list) and index % 16 >= 8:
            assert result[0].probabilities == pytest.approx(last[index % 8], abs=1e-5)


async def test_the_bytes_are_bounded_and_the_least_recently_used_go_first(
    bundle: Bundle, metrics: Metrics, registry: CollectorRegistry, pictures: npt.NDArray[np.uint8]
) -> None:
    images = [png(each) for each in pictures]
    sample = House(bundle, metrics, 1_000_000)
    size = size_of((await sample.ask(images[0], cam=True))[0])
    await sample.pipeline.close()
    house = House(bundle, metrics, max_bytes=3 * size)
    for image in images[:3]:
        await house.ask(image, cam=True)
    await house.ask(images[0], cam=True)
    await house.ask(images[3], cam=True)
    assert house.images == 4
    assert house.cache.bytes == 3 * size
    assert registry.get_sample_value("sightline_answer_cache_bytes") == 3 * size
    await house.ask(images[0], cam=True)
    assert house.images == 4
    await house.ask(images[1], cam=True)
    assert house.images == 5
    await house.pipeline.close()


async def test_an_answer_larger_than_the_cache_is_not_kept(
    bundle: Bundle, metrics: Metrics, pictures: npt.NDArray[np.uint8]
) -> None:
    house = House(bundle, metrics, max_bytes=100)
    for _ in range(2):
        await house.ask(png(pictures[0]))
    assert (house.images, house.cache.bytes) == (2, 0)
    await house.pipeline.close()
