"""What the training Jobs ask of the trainer is what the trainer understands and does."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.environment_variables
import pytest
import yaml
from torch.distributed.run import get_args_parser

from train.__main__ import (
    EXIT_AWAY,
    EXIT_ERROR,
    EXIT_FAILURE,
    EXIT_REFUSED,
    EXIT_TERMINATED,
    _parser,
)
from train.config import TrainConfig, load_config
from train.search import trials
from train.search.config import OVERRIDE, SearchConfig, load_search
from train.search.space import check_search

from .rendered import (
    ALL_PODS,
    INDEX,
    OVERLAYS,
    TRAINING_PODS,
    Pod,
    bytes_of,
    command_of,
    cores,
    entrypoint,
    environment,
    pods_of,
    render,
)

GPU = "nvidia.com/gpu"
every_training = pytest.mark.parametrize(
    ("directory", "pod"),
    [each[1:] for each in TRAINING_PODS],
    ids=[each[1].name for each in TRAINING_PODS],
)


def pod_of(overlay: str) -> Pod:
    (pod,) = pods_of(render(OVERLAYS / overlay))
    return pod


def train_container(pod: Pod) -> dict[str, Any]:
    (container,) = pod.containers
    assert container["name"] == "train"
    return container


def commands(pod: Pod) -> Iterator[list[str]]:
    """The trainer's own command lines, without what starts it."""
    words = command_of(pod)
    if words[:2] == ["sh", "-euc"]:
        for line in words[2].splitlines():
            yield shlex.split(line.removeprefix("exec "))[3:]
    elif words[:3] == ["python", "-m", "train.torchrun"]:
        launch = torchrun(words[3:])
        assert launch["training_script"] == "train"
        yield launch["training_script_args"]
    else:
        assert words[:3] == entrypoint("train")
        yield words[3:]


def torchrun(words: list[str]) -> dict[str, Any]:
    return vars(get_args_parser().parse_args(words))


def file_of(pod: Pod, directory: Path, path: str, place: Path) -> Path:
    """A file of the pod's ConfigMap, as it is mounted."""
    folder, name = path.rsplit("/", 1)
    container = train_container(pod)
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == folder)
    wanted = pod.volumes[mount["name"]]["configMap"]["name"]
    (found,) = (
        each["data"][name] for each in render(directory) if each["metadata"]["name"] == wanted
    )
    (place / name).write_text(found, encoding="utf-8")
    return place / name


def config_of(pod: Pod, directory: Path, place: Path) -> TrainConfig:
    """The configuration that the pod's process would have."""
    values = environment(pod)
    for words in commands(pod):
        options = _parser().parse_args(words)
        if hasattr(options, "config"):
            file = file_of(pod, directory, str(options.config), place)
            own = [each for each in options.overrides if not each.startswith(OVERRIDE)]
            return load_config(file, own, values)
    raise AssertionError(f"{pod.name} reads no configuration")


@every_training
def test_the_trainer_understands_the_command_line(directory: Path, pod: Pod) -> None:
    steps = [_parser().parse_args(words).name for words in commands(pod)]
    assert steps == {
        "tune": ["tune"],
        "retrain": ["retrain"],
        "release": ["evaluate", "export", "release"],
    }.get(directory.name, ["fit"])


@every_training
def test_the_configuration_is_one(directory: Path, pod: Pod, tmp_path: Path) -> None:
    if directory.name != "release":
        config = config_of(pod, directory, tmp_path)
        assert config.loop.device == ("cpu" if directory.name == "cpu" else "cuda")
        # As many as the quota has CPUs.
        assert config.data.threads == 0
        # A training by hand and one by the clock do not share a directory.
        assert (config.output == Path("/runs/chest")) != (directory.name == "retrain")
        assert (config.loop.resume == "once") == (directory.name not in ("retrain", "tune"))


def test_a_release_is_of_the_run_that_the_others_train(tmp_path: Path) -> None:
    output = config_of(pod_of("gpu"), OVERLAYS / "gpu", tmp_path).output
    runs = [_parser().parse_args(words).run for words in commands(pod_of("release"))]
    assert runs == [output] * 3
    # One that was trained without a GPU is not to be told of one.
    assert "SIGHTLINE_TRAIN_LOOP__DEVICE" not in environment(pod_of("release"))


@every_training
def test_what_is_written_has_a_place_and_what_is_needed_again_outlives_the_pod(
    directory: Path, pod: Pod, tmp_path: Path
) -> None:
    container = train_container(pod)
    values = environment(pod)
    assert "HOME" not in values
    home = re.search(r"\bHOME=(\S+)", Path("Dockerfile").read_text(encoding="utf-8"))
    assert home is not None
    assert pod.volume_at(container, home[1]) == ("emptyDir", True)
    kept = [values["XDG_CACHE_HOME"]]
    for words in commands(pod):
        options = _parser().parse_args(words)
        kept += [str(options.run)] if hasattr(options, "run") else []
        kept += [
            each.partition("=")[2]
            for each in getattr(options, "overrides", [])
            if "output=" in each
        ]
    if directory.name != "release":
        config = config_of(pod, directory, tmp_path)
        kept.append(str(config.output))
        assert pod.volume_at(container, str(config.data.root)) == ("persistentVolumeClaim", False)
    for path in kept:
        assert pod.volume_at(container, path) == ("persistentVolumeClaim", True), path


@pytest.mark.parametrize(
    ("directory", "pod"),
    [each[1:] for each in ALL_PODS if "postgres: StatefulSet" not in each[0]],
    ids=[each[0] for each in ALL_PODS if "postgres: StatefulSet" not in each[0]],
)
def test_every_variable_is_read_by_somebody(directory: Path, pod: Pod) -> None:
    known = {
        each.name
        for each in vars(mlflow.environment_variables).values()
        if hasattr(each, "name") and hasattr(each, "get")
    }
    # Its command line is read as text: to import it takes half a minute, and warns.
    package = Path(mlflow.environment_variables.__file__).parent
    for file in (package / "cli" / "__init__.py", package / "utils" / "cli_args.py"):
        known |= set(re.findall(r'envvar="(\w+)"', file.read_text(encoding="utf-8")))
    known |= {"OMP_NUM_THREADS", "XDG_CACHE_HOME", "PGHOST", "PGUSER", "PGPASSWORD"}
    (container,) = pod.containers
    names = [each["name"] for each in container["env"]]
    assert len(set(names)) == len(names)
    used = set(re.findall(r"\$\(([A-Z_]+)\)", " ".join(container["args"])))
    for name in names:
        ours = name.startswith(("SIGHTLINE_TRAIN_", "SIGHTLINE_SEARCH_"))
        assert ours or name in known | used, name
    indexed = (pod.job or {}).get("completionMode") == "Indexed"
    assert used <= set(names) | ({INDEX} if indexed else set())


@every_training
def test_a_mistake_ends_the_job_and_a_preemption_costs_no_try(directory: Path, pod: Pod) -> None:
    assert pod.job is not None
    assert pod.spec["restartPolicy"] == "Never"
    actions: dict[int, str] = {}
    for rule in pod.job["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes is None:
            assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
            # The first rule that fits decides, and a pod that is evicted may end with any code.
            assert not actions
            assert rule["action"] == "Ignore"
        else:
            assert codes["containerName"] in [each["name"] for each in pod.containers]
            assert codes["operator"] == "In"
            for code in codes["values"]:
                actions.setdefault(code, rule["action"])
    assert actions == {
        EXIT_ERROR: "FailJob",
        EXIT_REFUSED: "FailJob",
        EXIT_TERMINATED: "Ignore",
        128 + 10: "Ignore",
    }
    assert not {EXIT_AWAY, EXIT_FAILURE, 137} & actions.keys()


@every_training
def test_tries_are_limited_and_what_is_done_is_cleared_away(directory: Path, pod: Pod) -> None:
    assert pod.job is not None
    indexed = pod.job.get("completionMode") == "Indexed"
    assert ("backoffLimitPerIndex" in pod.job) == indexed
    assert ("backoffLimit" in pod.job) != indexed
    # The Jobs of a CronJob are its history, which has limits of its own.
    history = pod.owner["kind"] == "CronJob"
    assert ("ttlSecondsAfterFinished" in pod.job) != history


@every_training
def test_there_is_time_to_save(directory: Path, pod: Pod) -> None:
    grace_s = pod.spec["terminationGracePeriodSeconds"]
    # Of MLflow's client, when the tracked run is resumed and when it is ended.
    told_s = 2 * 30
    words = command_of(pod)
    if "train.torchrun" in words:
        shutdown_s = torchrun(words[3:])["shutdown_timeout"]
        assert shutdown_s > told_s
        assert grace_s >= shutdown_s + 30
    elif directory.name == "tune":
        assert grace_s >= trials._STOP_S + told_s + 30
    else:
        assert grace_s >= told_s + 30
    assert pod.spec["shareProcessNamespace"] is True


@every_training
def test_gpus_threads_and_processes_agree(directory: Path, pod: Pod, tmp_path: Path) -> None:
    container = train_container(pod)
    limits, values = container["resources"]["limits"], environment(pod)
    gpus = int(limits.get(GPU, 0))
    assert (gpus == 0) == (directory.name == "cpu")
    words = command_of(pod)
    # A process by itself has a thread for each CPU of the quota; torchrun would give each but one.
    assert ("OMP_NUM_THREADS" in values) == ("train.torchrun" in words)
    if "train.torchrun" in words:
        processes = int(torchrun(words[3:])["nproc_per_node"])
        assert processes == gpus
        kind, writable = pod.volume_at(container, "/dev/shm")
        assert (kind, writable) == ("emptyDir", True)
        (shm,) = (v["emptyDir"] for n, v in pod.volumes.items() if n == "shm")
        assert shm["medium"] == "Memory"
        assert bytes_of(shm["sizeLimit"]) >= 2**30
        assert processes * int(values["OMP_NUM_THREADS"]) == cores(limits["cpu"])


@pytest.mark.parametrize("overlay", ["multi-gpu", "multi-node"])
def test_a_batch_is_shared_evenly(overlay: str, tmp_path: Path) -> None:
    pod = pod_of(overlay)
    launch = torchrun(command_of(pod)[3:])
    processes = int(launch["nproc_per_node"]) * int(launch["nnodes"].partition(":")[0])
    config = config_of(pod, OVERLAYS / overlay, tmp_path)
    assert config.loop.batch_size % processes == 0


def test_the_pods_of_several_nodes_find_each_other(tmp_path: Path) -> None:
    check_nodes(render(OVERLAYS / "multi-node"))


def test_names_of_an_overlay_of_ones_own_reach_the_rendezvous(tmp_path: Path) -> None:
    place = tmp_path / "own"
    place.mkdir()
    tree = {
        "resources": [os.path.relpath(OVERLAYS / "multi-node", place.resolve())],
        "namePrefix": "lab-",
        "nameSuffix": "-7",
    }
    (place / "kustomization.yaml").write_text(yaml.safe_dump(tree))
    manifests = render(place)
    assert {each["metadata"]["name"].partition("-7")[0] for each in manifests} == {
        "lab-train", "lab-train-nodes", "lab-train-config",
    }  # fmt: skip
    check_nodes(manifests)


def check_nodes(manifests: list[dict[str, Any]]) -> None:
    (pod,) = pods_of(manifests)
    (service,) = (each for each in manifests if each["kind"] == "Service")
    assert pod.job is not None
    launch = torchrun(command_of(pod)[3:])
    nodes = pod.job["completions"]
    assert launch["nnodes"] == str(nodes) == str(pod.job["parallelism"])
    assert pod.job["completionMode"] == "Indexed"
    assert launch["rdzv_backend"] == "static"
    name = service["metadata"]["name"]
    assert pod.spec["subdomain"] == name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert [torchrun(command_of(pod, i)[3:])["node_rank"] for i in range(nodes)] == [*range(nodes)]
    # The name of the first pod in the cluster's DNS.
    assert launch["master_addr"] == f"{pod.owner['metadata']['name']}-0.{name}"
    assert [port["port"] for port in service["spec"]["ports"]] == [launch["master_port"]]
    # The first index writes all results, and its end is that of the Job.
    assert pod.job["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}
    assert pod.job["maxFailedIndexes"] == 0


def test_the_pods_of_a_search_share_a_study_and_nothing_else(tmp_path: Path) -> None:
    pod, directory = pod_of("tune"), OVERLAYS / "tune"
    (words,) = commands(pod)
    options = _parser().parse_args(words)
    own = [each.removeprefix(OVERRIDE) for each in options.overrides if each.startswith(OVERRIDE)]
    assert own == ["output=/runs/tune/0"]
    assert "search.output=/runs/tune/3" in command_of(pod, index=3)
    url = "postgresql+psycopg://mlflow:secret@postgres/studies"
    values = environment(pod, {"url": url})
    file = file_of(pod, directory, str(options.search), tmp_path)
    search: SearchConfig = load_search(file, own, values)
    assert search.storage == url
    assert search.jobs == int(train_container(pod)["resources"]["limits"][GPU])
    check_search(search, config_of(pod, directory, tmp_path), 3)
    assert pod.job is not None
    assert pod.job["completionMode"] == "Indexed"
    assert pod.job["completions"] == pod.job["parallelism"] > 1
    # The rest of the search goes on without a pod that has failed for good.
    assert "maxFailedIndexes" not in pod.job


def test_the_clock_starts_one_retraining_at_a_time() -> None:
    (cron,) = (each for each in render(OVERLAYS / "retrain") if each["kind"] == "CronJob")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    (words,) = commands(pod_of("retrain"))
    options = _parser().parse_args(words)
    # The lease of a pod that was killed expires while the next one waits for it.
    assert options.wait * 60 > 2 * options.lease
    assert not options.force
    assert not [each for each in render(OVERLAYS / "retrain") if each["kind"] == "Job"]


def test_the_clock_starts_what_the_job_by_hand_is() -> None:
    by_clock, by_hand = pod_of("retrain"), pod_of("gpu")
    assert by_clock.job is not None
    assert by_hand.job is not None
    differ = {
        key
        for key in by_hand.job.keys() | by_clock.job.keys()
        if by_hand.job.get(key) != by_clock.job.get(key)
    }
    assert differ == {"template", "ttlSecondsAfterFinished"}
    specs = [dict(pod.spec) for pod in (by_hand, by_clock)]
    for spec in specs:
        (container,) = spec.pop("containers")
        spec["container"] = {k: v for k, v in container.items() if k != "args"}
        spec["volumes"] = [v for v in spec["volumes"] if v["name"] != "config"]
    assert specs[0] == specs[1]


def test_kueue_decides_when_the_job_begins() -> None:
    queued, job = pod_of("kueue"), pod_of("gpu")
    assert queued.owner["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert queued.job is not None
    assert queued.job["suspend"] is True
    assert queued.spec == job.spec
