from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry

from model.bundle import Bundle
from predictor.engine import ENGINES
from predictor.engine.base import EngineOutput
from predictor.metrics import Metrics
from predictor.query import Contract
from tests.predictor.bundles import make_bundle, phantoms
from tests.predictor.servers import RunningServer

# How fast a shared machine draws examples says nothing about the code.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def pictures() -> npt.NDArray[np.uint8]:
    """Eight different images, uint8 [8, 64, 64, 3]."""
    return phantoms(8, seed=7)


@pytest.fixture(scope="session")
def server(bundle: Bundle) -> Iterator[RunningServer]:
    """A real server, shared by tests that leave it as it was."""
    with RunningServer(
        ["--bundle", str(bundle.path), "--engine", "onnxruntime", "--max_body_bytes", "4000000"]
    ) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="session")
def expected(bundle: Bundle, pictures: npt.NDArray[np.uint8]) -> EngineOutput:
    """The answers to the eight images, without a server."""
    engine = ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1)
    return engine.run(pictures, want_cam=True)


@pytest.fixture
def contract(bundle: Bundle) -> Contract:
    return Contract(tuple(bundle.manifest.class_keys), (16, 16), max_images=16)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)
