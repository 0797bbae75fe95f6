"""A bundle that is ready to answer: found, verified, loaded, tested, warmed up."""

import logging
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image

from model.bundle import Bundle
from predictor.admission import Admission
from predictor.answer_cache import AnswerCache
from predictor.batcher import Batcher
from predictor.engine import ENGINES
from predictor.engine.base import Engine
from predictor.engine.choice import choose
from predictor.engine.lanes import open_lane
from predictor.engine.record import cache_directory
from predictor.engine.survey import Wanted
from predictor.metrics import Metrics
from predictor.pipeline import Pipeline
from predictor.protocol.metadata import model_metadata
from predictor.query import Contract
from predictor.settings import Settings
from predictor.source import Source, resolve

LOGGER = logging.getLogger("sightline.model")


@dataclass(frozen=True)
class Served:
    """What requests need of a loaded model."""

    name: str
    version: str
    bundle: Bundle
    engine: Engine
    lane: Engine | None
    pipeline: Pipeline
    contract: Contract
    source: Source

    @cached_property
    def metadata(self) -> dict[str, Any]:
        return model_metadata(self.name, self.version, self.bundle.manifest, self.contract)

    async def close(self) -> None:
        """Answer what has been admitted, then let go of the engine."""
        await self.pipeline.close()
        self.engine.close()
        if self.lane is not None:
            self.lane.close()
        self.source.close()


def load(settings: Settings, metrics: Metrics) -> Served:
    """Do all that must have happened before the first request.

    Raises:
        SightlineError: the bundle is missing or altered, or no engine reproduces its answers.
    """
    started = time.monotonic()
    source = resolve(settings.address())
    bundle = Bundle.open(source.path)
    bundle.verify()
    # Pillow loads its codecs on first use, which the first request would pay for.
    Image.preinit()
    chosen = choose(
        bundle,
        ENGINES,
        Wanted(
            engine=settings.engine,
            precision=settings.precision,
            device=settings.device,
            max_batch_size=settings.max_batch_size,
            threads=settings.engine_cpus,
            load=settings.expected_load,
            cache=cache_directory(settings.cache_dir, source.lasting),
        ),
        metrics,
    )
    threads = settings.engine_cpus
    lane = open_lane(chosen.engine, bundle, ENGINES, threads, settings.max_batch_size)
    speed = chosen.images_per_second(settings.max_batch_size)
    admission = Admission(settings.max_queue, speed)
    batcher = Batcher(
        chosen.engine.run,
        settings.max_batch_size,
        metrics.batch,
        None if lane is None else lane.run,
        lanes=threads,
        in_house=lambda: admission.images,
    )
    metrics.selftest_timestamp.set_to_current_time()
    metrics.watch_queue(lambda: batcher.depth)
    metrics.admitted_images.set_function(lambda: admission.images)
    pipeline = Pipeline(
        bundle.manifest,
        batcher,
        admission,
        settings.limits,
        settings.decoders,
        AnswerCache(settings.answer_cache_bytes, metrics) if settings.answer_cache_bytes else None,
        metrics.stage,
        hashed=settings.request_log is not None,
    )
    name = settings.model_name or bundle.manifest.name
    version = settings.model_version or source.version or bundle.digest[:12]
    info = {
        "name": name,
        "version": version,
        "engine": chosen.engine.name,
        "precision": chosen.engine.precision,
        "device": chosen.engine.device,
        "digest": bundle.digest,
    }
    metrics.model_info.labels(**info).set(1)
    seconds = round(time.monotonic() - started, 3)
    LOGGER.info("model loaded", extra={"data": {**info, "seconds": seconds}})
    contract = Contract.of(bundle.manifest, settings.limits, settings.images_per_request)
    return Served(name, version, bundle, chosen.engine, lane, pipeline, contract, source)
