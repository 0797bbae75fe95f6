"""What the V2 protocol says about server and model."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from model.manifest import Manifest
from predictor.protocol.tensors import IMAGE, INPUTS, PIXELS
from predictor.query import Contract

PLATFORM = "sightline"
EXTENSIONS = ["binary_tensor_data"]


def server_metadata() -> dict[str, Any]:
    return {"name": "sightline", "version": _version(), "extensions": EXTENSIONS}


def model_metadata(
    name: str, model_version: str, manifest: Manifest, contract: Contract
) -> dict[str, Any]:
    """Inputs, outputs and, as parameters, what a client needs to show an answer.

    `classes` are in the order of `probabilities` and `cams`; `risk` is the policy behind the
    output of that name; `limits` are those of this server.
    """
    cam_shape = list(contract.cam_shape)
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
            {"name": "cam", "datatype": "FP32", "shape": [-1, *cam_shape]},
            {"name": "overlay", "datatype": "BYTES", "shape": [-1]},
            {"name": "cams", "datatype": "FP32", "shape": [-1, len(manifest.classes), *cam_shape]},
            {"name": "display", "datatype": "BYTES", "shape": [-1]},
        ],
        "parameters": {
            "classes": [info.model_dump() for info in manifest.classes],
            "risk": manifest.risk.model_dump(),
            "limits": {
                "max_body_bytes": contract.limits.max_bytes,
                "max_pixels": contract.limits.max_pixels,
                "max_images": contract.max_images,
            },
        },
    }


def _version() -> str:
    try:
        return version("sightline")
    except PackageNotFoundError:
        return "unknown"
