"""MLServer with its adaptive batching; the pictures come as base64 in V2 JSON."""

import asyncio
import base64
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from PIL import Image


class Classifier(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
        self.size = tuple(self.session.get_inputs()[0].shape[2:0:-1])
        self.decoders = ThreadPoolExecutor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        loop = asyncio.get_running_loop()
        images = await asyncio.gather(
            *(loop.run_in_executor(self.decoders, self._decode, each) for each in tensor.data)
        )
        probabilities = await asyncio.to_thread(self._run, np.stack(images))
        output = NumpyCodec.encode_output("probabilities", probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def _decode(self, text: str | bytes) -> Any:
        image = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
        return np.asarray(image.resize(self.size, Image.Resampling.BILINEAR))

    def _run(self, images: Any) -> Any:
        return self.session.run(["probabilities"], {"image": images})[0]


async def main() -> None:
    port = int(sys.argv[2])
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_endpoint=None,
        parallel_workers=0,
    )
    model = ModelSettings(
        name="sample", implementation=Classifier, max_batch_size=8, max_batch_time=0.005
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
