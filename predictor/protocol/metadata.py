"""What the V2 protocol says about server and model."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from model.manifest import Manifest
from predictor.protocol.tensors import IMAGE, INPUTS, PIXELS

PLATFORM = "sightline"
EXTENSIONS = ["binary_tensor_data"]


def server_metadata() -> dict[str, Any]:
    return {"name": "sightline", "version": _version(), "extensions": EXTENSIONS}


def model_metadata(name: str, model_version: str, manifest: Manifest) -> dict[str, Any]:
    """Inputs, outputs and, as a parameter, the classes in the order of `probabilities`."""
    architecture = manifest.architecture
    return {
        "name": name,
        "versions": [model_version],
        "platform": PLATFORM,
        "inputs": [
            {"name": IMAGE, "datatype": INPUTS[IMAGE], "shape": [-1]},
            {"name": PIXELS, "datatype": INPUTS[PIXELS], "shape": [-1, -1, -1, 3]},
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(manifest.classes)]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "risk", "datatype": "BYTES", "shape": [-1]},
            {
                "name": "cam",
                "datatype": "FP32",
                "shape": [-1, architecture.cam_height, architecture.cam_width],
            },
            {"name": "overlay", "datatype": "BYTES", "shape": [-1]},
        ],
        "parameters": {"classes": [info.model_dump() for info in manifest.classes]},
    }


def _version() -> str:
    try:
        return version("sightline")
    except PackageNotFoundError:
        return "unknown"
