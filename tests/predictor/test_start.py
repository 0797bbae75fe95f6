"""What a server does with the engine it chose at its last start."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from tests.predictor.bundles import jpeg
from tests.predictor.servers import RunningServer


def chosen(server: RunningServer) -> dict[str, Any]:
    entries = [each for each in server.log_entries() if each["event"] == "engine chosen"]
    assert len(entries) == 1, server.log()
    return entries[0]


def test_a_server_measures_once_and_answers_a_repeated_image_from_its_cache(
    bundle: Bundle, tmp_path: Path, pictures: npt.NDArray[np.uint8]
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(bundle.path, path, ignore=shutil.ignore_patterns(".cache"))
    arguments = ["--bundle", str(path), "--max_batch_size", "2", "--answer_cache_bytes", "1000000"]
    with RunningServer(arguments) as server:
        server.wait_until_ready()
        first = chosen(server)
        tried = {(row["engine"], row["precision"]) for row in first["candidates"]}
        assert tried == {("onnxruntime", "fp32"), ("openvino", "fp32"), ("torchscript", "fp32")}
        assert not first["remembered"]
        name = bundle.manifest.name
        answers = [
            httpx.post(
                f"{server.url}/v1/models/{name}:explain",
                content=jpeg(pictures[0]),
                headers={"content-type": "image/jpeg"},
            ).json()
            for _ in range(3)
        ]
        assert answers[0]["predictions"] == answers[1]["predictions"] == answers[2]["predictions"]
        shown = httpx.get(server.url + "/metrics").text
        for line in (
            'sightline_answer_cache_lookups_total{result="hit"} 2.0',
            'sightline_answer_cache_lookups_total{result="miss"} 1.0',
            "sightline_batch_size_count 1.0",
            'sightline_images_total{stage="admitted"} 3.0',
            'sightline_images_total{stage="decoded"} 1.0',
            'sightline_images_total{stage="answered"} 3.0',
            'sightline_stage_seconds_count{stage="infer"} 1.0',
            'sightline_stage_seconds_count{stage="total"} 3.0',
            'sightline_selftest_passed{device="cpu",engine="openvino",precision="fp32"} 1.0',
        ):
            assert line in shown
    with RunningServer(arguments) as server:
        server.wait_until_ready()
        second = chosen(server)
        assert second["remembered"]
        assert (second["engine"], second["candidates"]) == (first["engine"], first["candidates"])
