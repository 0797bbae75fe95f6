"""The whole way on phantoms: images, training, gate, server, and one answer over HTTP."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from model.errors import SightlineError
from model.manifest import Manifest
from train.atomic import write_atomically, write_text
from train.bundling import run_export
from train.config import load_config
from train.console import Console
from train.evaluation import run_evaluate
from train.findings import Evaluation
from train.phantom import PhantomConfig, generate
from train.release import Release, run_release
from train.report import REPORT
from train.run import Run
from train.training import run_fit

PHANTOM = PhantomConfig(images=1500, seed=7)
_READY_S = 180.0
_STAGES = ("decode", "queue", "infer", "encode")


def run_demo(
    directory: Path,
    serve: bool,
    overrides: Sequence[str],
    console: Console,
    phantom: PhantomConfig = PHANTOM,
) -> dict[str, Any]:
    """Run the demo and return its summary, which is also written as JSON.

    Args:
        directory: where everything is written, below `demo`.
        serve: leave the server up until interrupted.
        overrides: `key=value` changes of the demo's training configuration.
        console: where progress is told.
        phantom: the images.

    Raises:
        SightlineError: a step failed; its message says which and why.
    """
    demo = directory / "demo"
    seconds: dict[str, float] = {}
    with _stage("phantom", seconds, console):
        generate(demo / "phantom", phantom, console.bar("phantom", "images"))
    run = _run(demo, overrides, console)
    with _stage("fit", seconds, console):
        run_fit(run)
    with _stage("evaluate", seconds, console):
        evaluation = run_evaluate(run)
    with _stage("export", seconds, console):
        bundle = run_export(run)
    with _stage("release", seconds, console):
        release = run_release(run)
    if not release.promoted and release.champion_version is None:
        raise SightlineError(f"there is no model to serve: {release.reason}")
    shutil.copyfile(run.path / REPORT, demo / REPORT)
    image = _unseen_jpeg(run)
    with _server(release, demo / "server.log", seconds, console) as (process, port):
        with _stage("request", seconds, console):
            answer = _ask(port, f"/v2/models/{release.model_name}/infer", image)
        write_atomically(demo / "overlay.png", lambda stream: stream.write(answer["overlay"]))
        summary = _summary(evaluation, bundle.manifest, release, answer, seconds)
        write_text(demo / "summary.json", json.dumps(summary, indent=2) + "\n")
        console.say(_table(summary, bundle.manifest, answer, image, demo))
        if serve:
            _wait(process, port, release.model_name, image, console)
    return summary


def _run(demo: Path, overrides: Sequence[str], console: Console) -> Run:
    placed = [
        f"output={demo / 'run'}",
        f"data.root={demo / 'phantom'}",
        f"tracking.uri=sqlite:///{(demo / 'mlflow' / 'mlflow.db').resolve()}",
    ]
    with resources.as_file(resources.files("train") / "configs" / "phantom.yaml") as file:
        return Run(load_config(file, [*placed, *overrides]), console)


@contextmanager
def _stage(name: str, seconds: dict[str, float], console: Console) -> Iterator[None]:
    console.say(f"\n== {name}")
    started = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - started, 3)


def _unseen_jpeg(run: Run) -> Path:
    """The first JPEG of the test split that shows a lesion: neither training nor gate chose it."""
    for position in run.indices("test"):
        sample = run.data.samples[int(position)]
        if sample.mask and sample.file.endswith(".jpg"):
            return run.data.root / sample.file
    raise SightlineError("the test split has no JPEG of a lesion; use another seed")


@contextmanager
def _server(
    release: Release, log: Path, seconds: dict[str, float], console: Console
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A predictor of the champion and its port, stopped at the end whatever happens."""
    http_port, grpc_port = _free_ports(2)
    command = [sys.executable, "-m", "predictor"]
    command += ["--bundle", f"models:/{release.model_name}@{release.alias}"]
    command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port)]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": release.tracking_uri,
        # No gateway has to hear of this server's end.
        "SIGHTLINE_DRAIN_GRACE_S": "0",
    }
    with _stage("serve", seconds, console), log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_ready(process, http_port, log)
        except BaseException:
            _stop(process)
            raise
    console.say(f"ready at http://127.0.0.1:{http_port} (gRPC on port {grpc_port}, log in {log})")
    try:
        yield process, http_port
    finally:
        _stop(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text(errors="replace")[-3000:]
            raise SightlineError(f"the predictor ended with code {process.returncode}:\n{tail}")
        with contextlib.suppress(OSError):
            if _http(port, "GET", "/v2/health/ready")[0] == 200:
                return
        time.sleep(0.1)
    raise SightlineError(f"the predictor was not ready within {_READY_S:.0f} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _http(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """One request to the server on this machine: status and text of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def _ask(port: int, path: str, image: Path) -> dict[str, Any]:
    """One V2 request with a JPEG; the outputs by name, the overlay as PNG bytes."""
    outputs = ("probabilities", "label", "confidence", "risk", "overlay")
    body = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"content_type": "base64"},
                "data": [base64.b64encode(image.read_bytes()).decode()],
            }
        ],
        "outputs": [{"name": name} for name in outputs],
    }
    started = time.monotonic()
    status, text = _http(port, "POST", path, json.dumps(body))
    if status != 200:
        raise SightlineError(f"the predictor answered {status}: {text}")
    reply = json.loads(text)
    answer = {item["name"]: item["data"] for item in reply["outputs"]}
    return answer | {
        "overlay": base64.b64decode(answer["overlay"][0]),
        "version": reply["model_version"],
        "parameters": reply.get("parameters", {}),
        "total_ms": (time.monotonic() - started) * 1000.0,
    }


def _summary(
    evaluation: Evaluation,
    manifest: Manifest,
    release: Release,
    answer: dict[str, Any],
    seconds: dict[str, float],
) -> dict[str, Any]:
    parity, quantisation = manifest.parity, manifest.quantisation
    return {
        "macro_f1": evaluation.metrics.macro_f1,
        "intensity_baseline_macro_f1": evaluation.intensity_baseline_macro_f1,
        "cam_hit_rate": evaluation.cam_hit_rate,
        "parity": {
            "torchscript": parity["torchscript"].probabilities,
            "onnx": parity["onnx"].probabilities,
        },
        "cam_parity": parity["autograd"].cam,
        "int8": {
            "shipped": quantisation.shipped,
            "reason": quantisation.reason,
            "speed_over_fp32": quantisation.speed_over_fp32,
        },
        "gate": {"verdict": release.word, "reason": release.reason, "version": release.version},
        "answer": {
            "class": answer["label"][0],
            "probability": answer["confidence"][0],
            "risk": answer["risk"][0],
            "version": answer["version"],
        },
        "milliseconds": {
            stage: answer["parameters"][f"{stage}_ms"]
            for stage in _STAGES
            if f"{stage}_ms" in answer["parameters"]
        }
        | {"round_trip": round(answer["total_ms"], 3)},
        "seconds": seconds,
    }


def _table(
    summary: dict[str, Any], manifest: Manifest, answer: dict[str, Any], image: Path, demo: Path
) -> str:
    int8, gate = summary["int8"], summary["gate"]
    served = summary["answer"]["version"]
    kept = "" if gate["version"] == served else f"; the champion, version {served}, has answered"
    speed = f", {int8['speed_over_fp32']:.2f} times FP32's speed here" if int8["shipped"] else ""
    probabilities = dict(zip(manifest.class_keys, answer["probabilities"], strict=True))
    hit = summary["cam_hit_rate"]
    rows = [
        ("image", f"{image.name}, from the test split"),
        ("class", summary["answer"]["class"]),
        ("probability", f"{summary['answer']['probability']:.3f}"),
        ("of each class", "  ".join(f"{key} {value:.3f}" for key, value in probabilities.items())),
        ("risk", summary["answer"]["risk"]),
        ("model version", summary["answer"]["version"]),
        ("milliseconds", "  ".join(f"{k} {v:.1f}" for k, v in summary["milliseconds"].items())),
        ("", ""),
        ("macro-F1", f"{summary['macro_f1']:.3f} on the test split"),
        ("brightness alone", f"{summary['intensity_baseline_macro_f1']:.3f} (logistic regression)"),
        ("map in lesion", "-" if hit is None else f"{hit:.0%} of correctly classified lesions"),
        (
            "parity",
            (
                f"TorchScript {summary['parity']['torchscript']:.1e}, "
                f"ONNX {summary['parity']['onnx']:.1e}, CAM {summary['cam_parity']:.1e}"
            ),
        ),
        ("INT8", f"{'shipped' if int8['shipped'] else 'dropped'}: {int8['reason']}{speed}"),
        ("gate", f"{gate['verdict']}: {gate['reason']}{kept}"),
        ("seconds", "  ".join(f"{k} {v:.1f}" for k, v in summary["seconds"].items())),
        ("overlay", str(demo / "overlay.png")),
        ("report", str(demo / REPORT)),
    ]
    return "\n" + "\n".join(f"  {name:17} {value}".rstrip() for name, value in rows) + "\n"


def _wait(
    process: subprocess.Popen[bytes], port: int, name: str, image: Path, console: Console
) -> None:
    console.say(
        f"open http://127.0.0.1:{port}/ in a browser, or\n"
        f"try: curl -sS --data-binary @{image} -H 'Content-Type: image/jpeg' "
        f"http://127.0.0.1:{port}/v1/models/{name}:predict\nCtrl-C stops the server"
    )
    with contextlib.suppress(KeyboardInterrupt):
        code = process.wait()
        raise SightlineError(f"the predictor ended with code {code}")
