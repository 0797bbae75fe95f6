"""Overlays that people write for themselves on top of these, as docs/kubernetes.md has one."""

import os
import re
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import latest_version, validate

from train.config import load_config

from .rendered import K8S, OVERLAYS, ROOT, Pod, environment, pods_of, render

COMPONENTS = K8S / "training" / "components"


def from_here(text: str, place: Path) -> str:
    """Addresses in the project's directory, as they are from another one."""
    return text.replace("sightline/k8s", os.path.relpath(K8S, place.resolve()))


def example() -> str:
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (found,) = (block for block in blocks if "kind: Kustomization" in block)
    return str(found)


def test_the_example_is_another_training_beside_the_first(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(from_here(example(), tmp_path))
    (tmp_path / "train.yaml").write_text("name: skin\n")
    manifests = render(tmp_path)
    (config,) = (each for each in manifests if each["kind"] == "ConfigMap")
    assert config["data"] == {"train.yaml": "name: skin\n"}
    (pod,) = pods_of(manifests)
    assert pod.owner["metadata"]["name"] == "train-skin"
    assert pod.volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    assert pod.containers[0]["image"] == "registry.example.org/sightline-train:0.1.0"


def with_component(overlay: str, component: str, place: Path) -> Pod:
    """The pod of an overlay that a component was added to."""
    parts = {"resources": OVERLAYS / overlay, "components": COMPONENTS / component}
    tree = {kind: [os.path.relpath(part, place.resolve())] for kind, part in parts.items()}
    (place / "kustomization.yaml").write_text(yaml.safe_dump(tree))
    manifests = render(place)
    for manifest in manifests:
        validate(manifest, latest_version(), strict=True)
    (pod,) = pods_of(manifests)
    return pod


@pytest.mark.parametrize("overlay", ["release", "retrain", "tune"])
def test_what_follows_a_training_needs_no_gpu_either(overlay: str, tmp_path: Path) -> None:
    pod = with_component(overlay, "cpu", tmp_path)
    resources = pod.containers[0]["resources"]
    assert not any("gpu" in name for kind in resources.values() for name in kind)
    assert environment(pod)["SIGHTLINE_TRAIN_LOOP__DEVICE"] == "cpu"


@pytest.mark.parametrize("overlay", ["cpu", "multi-node", "retrain", "tune"])
def test_images_in_a_bucket_need_no_volume(overlay: str, tmp_path: Path) -> None:
    pod = with_component(overlay, "bucket", tmp_path)
    assert "data" not in pod.volumes
    assert {mount["name"] for mount in pod.containers[0]["volumeMounts"]} == pod.volumes.keys()
    file = K8S / "training" / "base" / "train.yaml"
    config = load_config(file, environment=environment(pod))
    assert config.data.root == "s3://bucket/chest"
    # On the volume that the next pod has, too.
    cache = environment(pod)["XDG_CACHE_HOME"]
    assert config.data.cache is None
    assert pod.volume_at(pod.containers[0], cache) == ("persistentVolumeClaim", True)
