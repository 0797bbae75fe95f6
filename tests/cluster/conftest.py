"""One control plane with KServe for all tests here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.kserve import kserve
from tests.cluster.kubectl import Kubectl
from tests.cluster.pretended import pretended_nodes

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("cluster")
    with control_plane(folder) as plane, pretended_nodes(plane), kserve(plane):
        yield plane


@pytest.fixture(scope="session")
def kubectl(plane: ControlPlane) -> Kubectl:
    return plane.admin
