"""Whole HTTP requests, made once and sent many times."""

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np

from tests.bench.serving.connection import HOST
from tests.bench.serving.images import Picture, Pixels

_JSON = "application/json"
_OCTETS = "application/octet-stream"


def post(path: str, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {HOST}", f"content-type: {kind}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def jpeg_body(path: str, picture: Picture) -> bytes:
    return post(path, picture.jpeg, "image/jpeg")


def v1_sample(path: str, picture: Picture) -> bytes:
    """As the KServe SDK's sample has it."""
    return _json(path, {"instances": [{"image": {"b64": _b64(picture)}}]})


def base64_field(path: str, picture: Picture) -> bytes:
    return _json(path, {"image": _b64(picture)})


def form(path: str, picture: Picture) -> bytes:
    boundary = "bench-boundary"
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="image"; filename="image.jpg"\r\n'
        "content-type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + picture.jpeg + f"\r\n--{boundary}--\r\n".encode()
    return post(path, body, f"multipart/form-data; boundary={boundary}")


def v2_base64(path: str, picture: Picture) -> bytes:
    parameters = {"content_type": "base64"}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "parameters": parameters}
    return _json(path, {"inputs": [{**tensor, "data": [_b64(picture)]}]})


def v2_image(path: str, picture: Picture, outputs: Sequence[str]) -> bytes:
    """A JPEG by the binary extension; the outputs come back binary."""
    blob = len(picture.jpeg).to_bytes(4, "little") + picture.jpeg
    return _v2(path, "image", "BYTES", (1,), blob, outputs)


def v2_pixels(path: str, name: str, pixels: Pixels, datatype: str) -> bytes:
    """Raw pixels by the binary extension, [1, H, W, 3]."""
    blob = pixels.astype({"UINT8": np.uint8, "FP32": np.float32}[datatype]).tobytes()
    return _v2(path, name, datatype, (1, *pixels.shape), blob, ())


def _v2(
    path: str,
    name: str,
    datatype: str,
    shape: Sequence[int],
    blob: bytes,
    outputs: Sequence[str],
) -> bytes:
    size = {"binary_data_size": len(blob)}
    tensor = {"name": name, "datatype": datatype, "shape": list(shape), "parameters": size}
    document: dict[str, object] = {"id": "bench", "inputs": [tensor]}
    if outputs:
        wanted = {"binary_data": True}
        document["outputs"] = [{"name": each, "parameters": wanted} for each in outputs]
    header = json.dumps(document).encode()
    length = {"inference-header-content-length": str(len(header))}
    return post(path, header + blob, _OCTETS, length)


def _json(path: str, document: object) -> bytes:
    return post(path, json.dumps(document).encode(), _JSON)


def _b64(picture: Picture) -> str:
    return base64.b64encode(picture.jpeg).decode()
