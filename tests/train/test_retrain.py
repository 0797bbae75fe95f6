"""Retraining against a real MLflow: a server in a process of its own, or the embedded store."""

import csv
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from train.__main__ import EXIT_REFUSED, main
from train.config import TrainConfig, override_later
from train.console import Console
from train.errors import ConfigError, LeaseError
from train.release import run_release
from train.retraining.inputs import Inputs
from train.retraining.lease import PREFIX, HeldError, Lease, Ticket
from train.retraining.retrain import run_retrain
from train.run import RETRAINED, Run

from .conftest import shapes_tree


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server."""
    directory = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(directory / "artifacts")]
    with (directory / "log").open("wb") as log, subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        cwd=directory,
        # Seven more processes, for what is not used here.
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    ) as process:  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        while True:
            assert process.poll() is None, (directory / "log").read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield address
        process.terminate()


@pytest.fixture
def settled(exported: Run, tmp_path: Path) -> Run:
    """A retraining that was interrupted after its training: the rest takes seconds."""
    shutil.copytree(exported.path.parent, tmp_path / "copy")
    store = f"tracking.uri=sqlite:///{tmp_path / 'copy' / 'mlflow.db'}"
    run = Run.open(tmp_path / "copy" / "run", [store, "export.int8=false"], Console(io.StringIO()))
    run.write(RETRAINED, Inputs.of(run.config))
    return run


def retrain(config: TrainConfig, *, force: bool = False) -> tuple[bool, str]:
    said = io.StringIO()
    done = run_retrain(config, Console(said), wait_s=0.0, lease_s=1.0, force=force)
    return done, said.getvalue()


def versions(config: TrainConfig) -> int:
    client = MlflowClient(config.tracking.uri)
    return len(client.search_model_versions(f"name='{config.name}'"))


def leases(client: MlflowClient, name: str) -> list[str]:
    return [key for key in client.get_registered_model(name).tags if key.startswith(PREFIX)]


@pytest.mark.timeout(600)
def test_of_two_at_once_one_trains_and_the_other_finds_nothing_to_do(
    shapes: Path, tmp_path: Path, server: str
) -> None:
    tree = shapes_tree(shapes, tmp_path / "run")
    tree["loop"]["epochs"] = 1
    tree["export"]["int8"] = False
    tree["tracking"]["uri"] = server
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "train", "retrain", "--config", str(tmp_path / "config.yaml")]
    both = [
        subprocess.Popen(
            [*command, "--wait", "5", f"output={tmp_path / name}"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for name in ("a", "b")
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("trained 1 epochs" in text for text in said) == 1
    assert sum("nothing to do" in text for text in said) == 1
    client = MlflowClient(server)
    assert [v.version for v in client.search_model_versions("name='shapes'")] == ["1"]
    assert client.get_model_version_by_alias("shapes", "champion").version == "1"
    assert leases(client, "shapes") == []
    # In a fresh pod, without the directory of the run.
    config = TrainConfig.model_validate(tree)
    done, text = retrain(config)
    assert done
    assert "nothing to do: data, config and code are those of version 1" in text
    assert not config.output.exists()


def test_nothing_is_made_twice_unless_something_has_changed(settled: Run) -> None:
    config = settled.config
    done, text = retrain(config)
    assert done
    assert "trained already" in text
    assert versions(config) == 1
    done, text = retrain(config)
    assert done
    assert "nothing to do" in text
    assert "which was promoted; --force" in text
    changed = override_later(config, ["release.min_macro_f1=0.1"], {})
    # The training does not depend on it, so what is there of it is used.
    Run(changed, settled.console).write(RETRAINED, Inputs.of(changed))
    done, text = retrain(changed)
    assert "changed since version 1 of shapes: config\n" in text
    assert versions(config) == 2


def test_a_refused_model_is_not_made_again(settled: Run) -> None:
    # Its test split may be learnt to the last image: only a threshold above that surely refuses it.
    gate = settled.config.release.model_copy(update={"min_macro_f1": 1.1})
    strict = settled.config.model_copy(update={"release": gate})
    Run(strict, settled.console).write(RETRAINED, Inputs.of(strict))
    assert retrain(strict)[0] is False
    done, text = retrain(strict)
    assert done
    assert "which was refused (no champion yet;" in text
    assert versions(strict) == 1


def test_the_command_says_with_3_that_the_gate_has_refused(
    settled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_release(settled)
    # Only the score is replaced: training a second, reliably worse model takes too long here.
    monkeypatch.setattr(
        "train.gate.score", lambda run, data, bundle: float(bundle.path != run.bundle_path)
    )
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settled.config.model_dump(mode="json")))
    command = ["retrain", "--config", str(tmp_path / "c.yaml"), "--lease", "1"]
    assert main(command) == EXIT_REFUSED
    assert main(command) == 0
    assert versions(settled.config) == 2


def test_what_a_model_is_made_of_is_told_apart(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shapes, tmp_path / "shapes")
    config = TrainConfig.model_validate(shapes_tree(tmp_path / "shapes", tmp_path / "run"))
    inputs = Inputs.of(config)

    def changes(**changed: Any) -> list[str]:
        return Inputs.of(config.model_copy(update=changed)).changed_from(inputs)

    shutil.copytree(shapes, tmp_path / "moved")
    moved = config.data.model_copy(update={"root": tmp_path / "moved"})
    assert changes(output=tmp_path / "elsewhere", data=moved) == []
    assert changes(seed=2) == ["config"]
    with (tmp_path / "moved" / "labels.csv").open() as stream:
        rows = list(csv.reader(stream))
    with (tmp_path / "moved" / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows[:-1])
    assert changes(data=moved) == ["data"]
    split = tmp_path / "split.csv"
    split.write_text("one")
    given = config.data.split.model_copy(update={"file": split})
    with_split = config.model_copy(update={"data": config.data.model_copy(update={"split": given})})
    before = Inputs.of(with_split)
    split.write_text("another")
    assert Inputs.of(with_split).changed_from(before) == ["config"]
    monkeypatch.setattr("train.retraining.inputs.package_versions", lambda: {"torch": "9"})
    assert changes() == ["code"]


def test_without_a_registry_there_is_no_retraining(settled: Run) -> None:
    config = override_later(settled.config, ["tracking.tracker=none"], {})
    with pytest.raises(ConfigError, match="retrain needs a registry"):
        retrain(config)


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{tmp_path / 'registry.db'}")


def lease(client: MlflowClient, lasts_s: float = 30.0) -> Lease:
    return Lease(client, client.tracking_uri, "shapes", lasts_s, settle_s=0.5)


def test_a_second_one_leaves_and_says_who_has_the_lease(client: MlflowClient) -> None:
    with lease(client).hold(0.0) as held:
        held.check()
        with pytest.raises(HeldError, match=rf"{os.getpid()}, since 20\d\d-"):
            lease(client).hold(0.0).__enter__()
        assert leases(client, "shapes") == [held.key]
    assert leases(client, "shapes") == []
    with lease(client).hold(0.0):
        pass


def test_the_lease_of_a_killed_process_expires(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = lease(client, lasts_s=0.5)
    client.create_registered_model("shapes")
    killed.held = True
    killed._write()
    with pytest.raises(HeldError):
        lease(client).hold(0.0).__enter__()
    # Clocks that are apart are made up for by a margin, which the test does not wait for.
    monkeypatch.setattr("train.retraining.lease._MARGIN_S", 0.0)
    with lease(client).hold(10.0) as mine:
        assert leases(client, "shapes") == [mine.key]
        # Back from a long pause, the first one learns that it has lost.
        with pytest.raises(LeaseError, match=r"lease on shapes was lost.*is now of"):
            killed.check()


def test_a_lease_is_renewed_while_it_is_held(client: MlflowClient) -> None:
    with lease(client, lasts_s=2.0).hold(0.0) as held:
        first = Ticket.model_validate_json(client.get_registered_model("shapes").tags[held.key])
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            value = client.get_registered_model("shapes").tags[held.key]
            if Ticket.model_validate_json(value).expires > first.expires + 1.0:
                break
            time.sleep(0.05)
        else:
            pytest.fail("it was not renewed")
        assert re.match(r".*, process \d+,", Ticket.model_validate_json(value).who)


def test_one_that_was_slow_to_claim_withdraws(client: MlflowClient) -> None:
    slow = lease(client)
    slow.settle_s = 1e-9
    client.create_registered_model("shapes")
    slow._write()
    # Whoever looked in the meantime may have claimed it too.
    assert not slow._claim()
    assert not Ticket.model_validate_json(client.get_registered_model("shapes").tags[slow.key]).held
