"""BentoML with a thread per CPU and the picture as a form's file.

Started by `bentoml serve`, so the model comes from the environment: `BENCH_MODEL`.
"""

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime
from PIL import Image


@bentoml.service(workers=1, threads=len(os.sched_getaffinity(0)), traffic={"timeout": 60})
class Classifier:
    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], providers=["CPUExecutionProvider"]
        )
        self.size = tuple(self.session.get_inputs()[0].shape[2:0:-1])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Image.Image) -> dict[str, Any]:
        resized = image.convert("RGB").resize(self.size, Image.Resampling.BILINEAR)
        (probabilities,) = self.session.run(["probabilities"], {"image": np.asarray(resized)[None]})
        return {"class": int(probabilities[0].argmax()), "probabilities": probabilities[0].tolist()}
