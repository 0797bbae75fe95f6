"""Requests as clients write them."""

import base64
from typing import Any

INFER = "/v2/models/tiny/infer"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def json_request(*images: bytes, **changes: Any) -> dict[str, Any]:
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"content_type": "base64"},
        "data": [b64(image) for image in images],
    }
    return {"inputs": [tensor], **changes}
