"""The predictor's pod: how it is secured, asked, placed and ended."""

from pathlib import Path

import pytest

from tests.helm.chart import CHART, CI_VALUES, Object, Rendered


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_pods_are_restricted(values: Path) -> None:
    """What Pod Security's level `restricted` asks of a container, and more."""
    rendered = Rendered(files=[values])
    pods = [service["spec"]["predictor"] for service in rendered.all("InferenceService")]
    pods += [pod["spec"] for pod in rendered.all("Pod")]
    pods += [job["spec"]["template"]["spec"] for job in rendered.all("Job")]
    pods += [
        job["spec"]["jobTemplate"]["spec"]["template"]["spec"] for job in rendered.all("CronJob")
    ]
    assert len(pods) >= 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 10000
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod.get("volumes", []):
            kinds = set(volume) - {"name"}
            assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}


def test_the_image_runs_as_the_user_of_the_dockerfile() -> None:
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text()
    context = Rendered().container["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile
    # Its group owns the volumes, or it could not write to them.
    assert Rendered().predictor["securityContext"]["fsGroup"] == context["runAsGroup"]


def test_probes_ask_what_tells_the_truth() -> None:
    container = Rendered({"probes": {"startupSeconds": 61}}).container
    startup, readiness = container["startupProbe"], container["readinessProbe"]
    assert startup["httpGet"] == readiness["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert container["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8080}
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 61


def test_http_is_the_first_port_for_kserve_routes_to_it() -> None:
    ports = Rendered().container["ports"]
    assert [(port["name"], port["containerPort"]) for port in ports] == [
        ("http", 8080),
        ("grpc", 8081),
    ]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 40),
        ({"settings": {"timeout_s": 0.5, "drain_grace_s": 0}}, 6),
        ({"settings": {"timeout_s": 60, "drain_grace_s": 15}}, 80),
        ({"shutdown": {"preStopSleepSeconds": 10}}, 50),
        ({"shutdown": {"gracePeriodSeconds": 120}}, 120),
    ],
)
def test_a_pod_has_time_for_all_that_it_has_accepted(values: Object, seconds: int) -> None:
    rendered = Rendered(values)
    assert rendered.predictor["terminationGracePeriodSeconds"] == seconds
    sleep = values.get("shutdown", {}).get("preStopSleepSeconds")
    lifecycle = rendered.container.get("lifecycle")
    assert lifecycle == (None if not sleep else {"preStop": {"sleep": {"seconds": sleep}}})


def test_cpu_and_gpu_profiles() -> None:
    cpu, gpu = Rendered(), Rendered({"profile": "gpu", "runtimeClassName": "nvidia"})
    assert cpu.container["image"] == "sightline-serve-cpu:0.1.0"
    assert gpu.container["image"] == "sightline-serve-gpu:0.1.0"
    assert cpu.environment["SIGHTLINE_DEVICE"] == "cpu"
    assert gpu.environment["SIGHTLINE_DEVICE"] == "cuda"
    assert gpu.container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in cpu.container["resources"]["limits"]
    assert gpu.predictor["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert gpu.predictor["runtimeClassName"] == "nvidia"
    assert "tolerations" not in cpu.predictor
    assert "runtimeClassName" not in cpu.predictor


def test_both_profiles_name_images_that_the_dockerfile_builds() -> None:
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text()
    for profile in ("cpu", "gpu"):
        name = Rendered({"profile": profile}).container["image"].partition(":")[0]
        assert f" AS {name.removeprefix('sightline-')}\n" in dockerfile


def test_kserve_is_left_no_resource_to_fill_in() -> None:
    for values in ({}, {"profile": "gpu"}):
        resources = Rendered(values).container["resources"]
        for part in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(resources[part])
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"registry": "r.example/team"}, "r.example/team/sightline-serve-cpu:0.1.0"),
        ({"repository": "r.example/mine", "registry": "other"}, "r.example/mine:0.1.0"),
        ({"tag": "1.2.3"}, "sightline-serve-cpu:1.2.3"),
        (
            {"digest": "sha256:" + "0" * 64},
            "sightline-serve-cpu:0.1.0@sha256:" + "0" * 64,
        ),
    ],
)
def test_the_image_is_put_together(image: Object, expected: str) -> None:
    assert Rendered({"image": image}).container["image"] == expected


def test_scheduling_is_passed_on() -> None:
    affinity: Object = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}
    predictor = Rendered(
        {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": affinity,
            "priorityClassName": "high",
            "image": {"pullSecrets": ["one", "two"]},
            "podAnnotations": {"example.com/a": "b"},
        }
    ).predictor
    assert predictor["nodeSelector"] == {"disk": "ssd"}
    assert predictor["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert predictor["affinity"] == affinity
    assert predictor["priorityClassName"] == "high"
    assert predictor["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert predictor["annotations"] == {"example.com/a": "b"}


def test_pods_are_spread_by_the_label_that_kserve_gives_them() -> None:
    constraints = Rendered().predictor["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    for each in constraints:
        assert each["labelSelector"] == {"matchLabels": {"app": "isvc.cxr-predictor"}}
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"
    off = Rendered({"topologySpread": {"enabled": False}}).predictor
    assert "topologySpreadConstraints" not in off
