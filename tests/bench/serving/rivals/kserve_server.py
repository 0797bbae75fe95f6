"""The KServe SDK as its custom predictor sample uses it, with ONNX Runtime in place of torch.

A V1 request carries the picture as base64; a V2 request a tensor of the network's input, which the
SDK itself unpacks.
"""

import base64
import io
import sys
from typing import Any

import numpy as np
import onnxruntime
from kserve import InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import get_predict_response
from PIL import Image


class Classifier(Model):
    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.size = tuple(self.session.get_inputs()[0].shape[2:0:-1])
        self.ready = True

    def preprocess(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> Any:
        if isinstance(payload, InferRequest):
            return payload
        file = base64.b64decode(payload["instances"][0]["image"]["b64"])
        image = Image.open(io.BytesIO(file)).convert("RGB")
        return np.asarray(image.resize(self.size, Image.Resampling.BILINEAR))[None]

    def predict(  # type: ignore[override]
        self, payload: Any, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        if isinstance(payload, InferRequest):
            tensor = payload.inputs[0].as_numpy().astype(np.uint8)
            (probabilities,) = self.session.run(["probabilities"], {"image": tensor})
            return get_predict_response(payload, probabilities, self.name)
        (probabilities,) = self.session.run(["probabilities"], {"image": payload})
        return {"predictions": probabilities.tolist()}


if __name__ == "__main__":
    file, port = sys.argv[1:3]
    # What the SDK's own parser has not been given it takes from here, when it is imported.
    ModelServer(http_port=int(port), enable_grpc=False).start([Classifier("sample", file)])
