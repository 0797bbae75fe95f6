"""The runtimes that can serve a bundle. To add one, write its file and its line here."""

from predictor.engine.base import EngineKind
from predictor.engine.onnxruntime import OnnxRuntimeKind, TensorRtKind
from predictor.engine.openvino import OpenVinoKind
from predictor.engine.torchscript import TorchScriptKind

# In the order in which they are tried, should the time for trying run out.
ENGINES: dict[str, EngineKind] = {
    "onnxruntime": OnnxRuntimeKind(),
    "openvino": OpenVinoKind(),
    "torchscript": TorchScriptKind(),
    "tensorrt": TensorRtKind(),
}
