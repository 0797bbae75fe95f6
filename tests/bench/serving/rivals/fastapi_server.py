"""Plain FastAPI and ONNX Runtime: what one writes in an afternoon, and writes well.

Started as `python fastapi_server.py MODEL.onnx PORT`, like every file here: none of them imports
the project, so each runs in an environment of its own.
"""

import io
import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

app = FastAPI()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
size = tuple(session.get_inputs()[0].shape[2:0:-1])


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    return await run_in_threadpool(answer, await request.body())


def answer(body: bytes) -> dict[str, Any]:
    image = Image.open(io.BytesIO(body)).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    (probabilities,) = session.run(["probabilities"], {"image": np.asarray(image)[None]})
    best = int(probabilities[0].argmax())
    return {"predictions": [{"class": best, "probabilities": probabilities[0].tolist()}]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
