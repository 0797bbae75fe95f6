"""The runtimes that can serve a bundle. To add one, write its file and its line here."""

from predictor.engine.base import EngineKind
from predictor.engine.onnxruntime import OnnxRuntimeKind
from predictor.engine.torchscript import TorchScriptKind

ENGINES: dict[str, EngineKind] = {
    "onnxruntime": OnnxRuntimeKind(),
    "torchscript": TorchScriptKind(),
}
