"""JSON Schemas of the bodies that the protocols take and give, from the code's own constants."""

from collections.abc import Sequence
from typing import Any

from model.decision import INDETERMINATE, RiskPolicy
from model.image import MIN_SIDE_PX
from predictor.protocol.tensors import BASE64, DEFAULT_OUTPUTS, IMAGE, INPUTS, OUTPUTS, PIXELS
from predictor.query import Contract

Json = dict[str, Any]

REF = "#/components/schemas/"
NAMES = {"type": "array", "items": {"type": "string"}}

_FILE = {"type": "string", "contentEncoding": "base64", "minLength": 1}


def json_schemas(model_name: str, contract: Contract, policy: RiskPolicy) -> Json:
    """By name, to be referred to as :data:`REF` and the name."""
    classes, height, width = contract.class_keys, *contract.cam_shape
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    count = {"type": "integer", "minimum": 1, "maximum": contract.max_images}
    side = {"type": "integer", "minimum": MIN_SIDE_PX}
    cam = {"type": "array", "minItems": height, "maxItems": height, "items": _list("number", width)}
    flag, text = {"type": "boolean"}, {"type": "string"}
    prediction = {
        "label": {"enum": list(classes)},
        "confidence": probability,
        "risk": {"enum": [*policy.levels.values(), INDETERMINATE]},
        "probabilities": _object(dict.fromkeys(classes, probability), classes),
        "explained_class": {"enum": list(classes)},
        "cam": cam,
        "overlay": _object({"b64": _FILE}, ["b64"]),
    }
    return {
        "Error": _object({"error": text}, ["error"]),
        "ExplainClass": {
            "description": "Key or index of the class to explain; without it, the predicted one",
            "anyOf": [
                {"enum": list(classes)},
                {"type": "integer", "minimum": 0, "maximum": len(classes) - 1},
            ],
        },
        "Server": _object({"name": text, "version": text, "extensions": NAMES}, ["name"]),
        "Model": _object(
            {"name": {"const": model_name}, "versions": NAMES, "platform": text,
             "inputs": {"type": "array"}, "outputs": {"type": "array"}},
            ["name", "versions", "platform", "inputs", "outputs"],
        ),
        "ImageInput": _object(
            {"name": {"const": IMAGE}, "datatype": {"const": INPUTS[IMAGE]},
             "shape": {"type": "array", "items": count, "minItems": 1, "maxItems": 1},
             "parameters": _object({"content_type": {"const": BASE64}}, ["content_type"]),
             "data": {"type": "array", "items": _FILE, "minItems": 1}},
            ["name", "datatype", "shape", "parameters", "data"],
        ),
        "PixelsInput": _object(
            {"name": {"const": PIXELS}, "datatype": {"const": INPUTS[PIXELS]},
             "shape": {"type": "array", "prefixItems": [count, side, side, {"const": 3}],
                       "minItems": 4, "maxItems": 4},
             "data": {"type": "array", "description": "Numbers from 0 to 255, nested or flat"}},
            ["name", "datatype", "shape", "data"],
        ),
        "InferRequest": _object(
            {"id": text,
             "inputs": {"type": "array", "minItems": 1, "maxItems": len(INPUTS),
                        "items": {"oneOf": [{"$ref": REF + "ImageInput"},
                                            {"$ref": REF + "PixelsInput"}]}},
             "outputs": {"type": "array", "default": [{"name": name} for name in DEFAULT_OUTPUTS],
                         "items": _object({"name": {"enum": list(OUTPUTS)}, "parameters":
                                           _object({"binary_data": flag})}, ["name"])},
             "parameters": _object({"explain_class": {"$ref": REF + "ExplainClass"},
                                    "timeout": {"type": "integer", "minimum": 0,
                                                "description": "Microseconds; 0 for none"},
                                    "binary_data_output": flag})},
            ["inputs"],
        ),
        "InferResponse": _object(
            {"model_name": text, "model_version": text, "id": text, "parameters": {},
             "outputs": {"type": "array", "items": _object(
                 {"name": {"enum": list(OUTPUTS)}, "datatype": {"enum": ["FP32", "BYTES"]},
                  "shape": {"type": "array", "items": {"type": "integer"}},
                  "data": {"type": "array"}}, ["name", "datatype", "shape"])}},
            ["model_name", "model_version", "outputs"],
        ),
        "V1Request": _object(
            {"instances": {"type": "array", "minItems": 1, "maxItems": contract.max_images,
                           "items": {"anyOf": [_object({"b64": _FILE}, ["b64"], False), _FILE]}},
             "explain": flag, "explain_class": {"$ref": REF + "ExplainClass"}},
            ["instances"], False,
        ),
        "V1Response": _object(
            {"predictions": {"type": "array", "items": _object(
                prediction, ["label", "confidence", "risk", "probabilities"])},
             "model_name": text, "model_version": text},
            ["predictions", "model_name", "model_version"],
        ),
    }  # fmt: skip


def _object(properties: Json, required: Sequence[str] = (), open_: bool = True) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema if open_ else {**schema, "additionalProperties": False}


def _list(kind: str, length: int) -> Json:
    return {"type": "array", "items": {"type": kind}, "minItems": length, "maxItems": length}
