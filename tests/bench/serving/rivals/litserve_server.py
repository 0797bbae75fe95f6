"""LitServe with batches, and a worker per CPU with one thread each."""

import base64
import io
import os
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
from PIL import Image


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            sys.argv[1], options, providers=["CPUExecutionProvider"]
        )
        self.size = tuple(self.session.get_inputs()[0].shape[2:0:-1])

    def decode_request(self, request: dict[str, str]) -> Any:
        image = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")
        return np.asarray(image.resize(self.size, Image.Resampling.BILINEAR))

    def predict(self, x: Any) -> Any:
        return self.session.run(["probabilities"], {"image": x})[0]

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"class": int(output.argmax()), "probabilities": output.tolist()}


if __name__ == "__main__":
    api = Classifier(max_batch_size=8, batch_timeout=0.005)
    workers = len(os.sched_getaffinity(0))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers, timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False
    )
