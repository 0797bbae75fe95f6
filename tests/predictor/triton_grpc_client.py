"""Asks a server over gRPC with Triton's client, in a process of its own.

Triton's and KServe's generated messages have the same names and cannot be loaded together.
Usage: triton_grpc_client.py PORT IMAGES.npz ANSWERS.npz
"""

import json
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

OUTPUTS = ("probabilities", "label", "confidence", "risk", "cam", "overlay")


def tensor(name: str, values: npt.NDArray[np.generic]) -> triton.InferInput:
    datatype = {"O": "BYTES", "u": "UINT8", "f": "FP32"}[values.dtype.kind]
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "answered"


def main(port: str, images: str, answers: str) -> None:
    with np.load(images) as data:
        pixels = data["pixels"]
        files = np.array([row.tobytes().rstrip(b"\0") for row in data["files"]], np.object_)
    wanted = [triton.InferRequestedOutput(name) for name in OUTPUTS]
    found: dict[str, npt.NDArray[np.generic]] = {}
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        state = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("tiny")]
        metadata = client.get_model_metadata("tiny", as_json=True)
        for form, values in (("image", files), ("pixels", pixels)):
            result = client.infer("tiny", [tensor(form, values)], outputs=wanted, request_id="42")
            for name in OUTPUTS:
                array = result.as_numpy(name)
                if array.dtype.kind == "O":
                    array = np.array([each.hex() for each in array])
                found[f"{form}_{name}"] = array
            state.append(result.get_response().id == "42")
        good, one = tensor("image", files[:1]), files[0]
        broken = tensor("image", np.array([one, b"\xff\xd8\xff broken"], np.object_))
        wrong_type = tensor("pixels", np.zeros((1, 8, 8, 3), np.float32))
        heat = [triton.InferRequestedOutput("heat")]
        refusals = [
            refusal(lambda: client.infer("tiny", [broken])),
            refusal(lambda: client.infer("tiny", [wrong_type])),
            refusal(lambda: client.infer("tiny", [good], outputs=heat)),
            refusal(lambda: client.infer("other", [good])),
            refusal(lambda: client.infer("tiny", [good], model_version="99")),
            refusal(lambda: client.infer("tiny", [good], model_version=metadata["versions"][0])),
            refusal(lambda: client.unload_model("tiny")),
        ]
    np.savez(answers, **found)  # type: ignore[arg-type]
    sys.stdout.write(json.dumps({"state": state, "metadata": metadata, "refusals": refusals}))


if __name__ == "__main__":
    main(*sys.argv[1:])
