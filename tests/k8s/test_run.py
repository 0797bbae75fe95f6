"""The commands of the manifests really run: MLflow's server, and a training that is preempted."""

import http.client
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import RunInfo

from train.__main__ import EXIT_ERROR, EXIT_TERMINATED
from train.phantom import PhantomConfig, generate

from .machine import Machine
from .rendered import K8S, OVERLAYS, pods_of, render

_START_S = 120.0
MLFLOW = K8S / "mlflow" / "sqlite"
# The manifest's own recipe is for a GPU.
RECIPE = {
    "DATA__DECODE": "{width_px: 64, height_px: 64}",
    "LOOP__BATCH_SIZE": "4",
    "LOOP__EPOCHS": "5",
    "LOOP__PATIENCE": "5",
    "MODEL__ARCHITECTURE": "baseline",
    "MODEL__OPTIONS": "{depth: 2, width: 8}",
}


def wait_for(what: Callable[[], bool], machine: Machine) -> None:
    deadline = time.monotonic() + _START_S
    while not what():
        assert time.monotonic() < deadline, machine.log
        time.sleep(0.02)


def ask(port: int, path: str, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def answers(port: int, path: str) -> bool:
    """Whether the kubelet would find it well, which asks by the pod's address."""
    return ask(port, path, f"10.1.2.3:{port}") == 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the MLflow server that the manifest describes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = {"5000": str(port), "0.0.0.0": "127.0.0.1"}
    machine = Machine(tmp_path_factory.mktemp("mlflow"), words)
    (pod,) = pods_of(render(MLFLOW))
    machine.mount(pod, MLFLOW)
    (container,) = pod.containers
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    with machine.running(pod) as process:
        for path in {probe["path"] for probe in probes}:
            wait_for(partial(answers, port, path), machine)
        yield port
        process.send_signal(signal.SIGTERM)
        grace_s = pod.spec["terminationGracePeriodSeconds"]
        assert process.wait(grace_s) == 0, machine.log
    assert (machine.root / "mlflow" / "mlflow.db").is_file()


def test_mlflow_answers_those_that_call_it_by_its_name(server: int) -> None:
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    for host in ("mlflow", "mlflow.research.svc", "mlflow.research.svc.cluster.local", "localhost"):
        assert ask(server, path, f"{host}:{server}") == 200
    for host in ("attacker.example", "mlflow.attacker.example"):
        assert ask(server, path, f"{host}:{server}") == 403


def test_a_training_that_is_preempted_goes_on_in_the_next_pod(server: int, tmp_path: Path) -> None:
    more = {f"SIGHTLINE_TRAIN_{key}": value for key, value in RECIPE.items()}
    machine = Machine(tmp_path, {"mlflow:5000": f"localhost:{server}"}, more)
    (pod,) = pods_of(render(OVERLAYS / "cpu"))
    machine.mount(pod, OVERLAYS / "cpu")
    generate(tmp_path / "data", PhantomConfig(images=60, seed=3))
    client = MlflowClient(f"http://localhost:{server}")

    def recorded() -> RunInfo:
        (experiment,) = client.search_experiments(filter_string="name = 'sightline'")
        (run,) = client.search_runs([experiment.experiment_id])
        return run.info

    with machine.running(pod) as process:
        wait_for(lambda: "epoch   2" in machine.log or process.poll() is not None, machine)
        process.terminate()
        grace_s = pod.spec["terminationGracePeriodSeconds"]
        assert process.wait(grace_s) == EXIT_TERMINATED, machine.log
    assert recorded().status == "KILLED"
    with machine.running(pod) as process:
        assert process.wait(_START_S) == 0, machine.log
    assert "going on where the same training was interrupted" in machine.log
    assert "trained 5 epochs" in machine.log
    info = recorded()
    assert info.status == "FINISHED"
    assert info.artifact_uri.startswith("mlflow-artifacts:/")
    assert "best.pt" in {each.path for each in client.list_artifacts(info.run_id)}
    # What only this pod had is gone with it, and nothing of value was there.
    assert not list((tmp_path / "tmp").glob("ml*"))


def test_a_wrong_setting_ends_the_job(tmp_path: Path) -> None:
    machine = Machine(tmp_path, more={"SIGHTLINE_TRAIN_LOOP__EPOCHS": "many"})
    (pod,) = pods_of(render(OVERLAYS / "cpu"))
    machine.mount(pod, OVERLAYS / "cpu")
    with machine.running(pod) as process:
        assert process.wait(_START_S) == EXIT_ERROR, machine.log
    assert "loop.epochs" in machine.log
