"""One cluster with a node, a gateway and a Prometheus for all tests here."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.kserve import kserve
from tests.node.gateway import gateway
from tests.node.machine import ADDRESS, IMAGES, make_network, missing, node

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.node)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    assert os.environ.get("SIGHTLINE_NAMESPACES"), "these tests mount and route: make test-node"
    assert not missing(), f"please install {', '.join(missing())}"
    assert list(IMAGES.glob("*.tar")), f"no images in {IMAGES}: make test-node"
    make_network()
    folder = tmp_path_factory.mktemp("node")
    with control_plane(folder, ADDRESS) as plane, node(plane), kserve(plane), gateway(plane):
        yield plane
