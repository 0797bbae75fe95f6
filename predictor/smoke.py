"""`python -m predictor.smoke NAME URL ...`: does a server that was just installed really answer?

What `helm test` runs, in the predictor's own image: ready, metadata, one inference with a JPEG that
is made here, and a map of the shape that the metadata promises.
"""

import argparse
import base64
import io
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from PIL import Image

from model.errors import SightlineError

TOKEN = "SIGHTLINE_SMOKE_TOKEN"  # noqa: S105 - the name of a variable
SIDE_PX = 256
# Less than the five minutes of `helm test`, so that the reason is told.
PATIENCE_S = 240.0
PAUSE_S = 2.0
ANSWER_TIMEOUT_S = 60.0


class SmokeError(SightlineError):
    """A server does not answer as it should; says what was expected."""


class Client:
    """Asks one server, with the token if there is one."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST of a body, and the JSON of the answer.

        Raises:
            SmokeError: it is not 200, or there is none.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, self._headers)  # noqa: S310 - the operator's URL
        try:
            with urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as error:
            text = error.read(500).decode(errors="replace")
            raise SmokeError(f"{self.url}{path}: status {error.code}, not 200: {text}") from None
        except (URLError, OSError, ValueError) as error:
            raise SmokeError(f"{self.url}{path}: {error}") from None


def first_ready(clients: Sequence[Client], patience_s: float) -> Client:
    """The first that is ready, asked in turns.

    Raises:
        SmokeError: none is, after all that time; says why of each.
    """
    end = time.monotonic() + patience_s
    while True:
        reasons = []
        for client in clients:
            try:
                client.ask("/v2/health/ready")
            except SmokeError as error:
                reasons.append(str(error))
            else:
                return client
        if time.monotonic() >= end:
            raise SmokeError("not ready: " + "; ".join(reasons))
        time.sleep(PAUSE_S)


def check_answers(client: Client, name: str) -> str:
    """Ask for the metadata and one image's answer.

    Returns:
        The answer in words.

    Raises:
        SmokeError: something is not as it should be.
    """
    path = f"/v2/models/{quote(name, safe='')}"
    metadata = client.ask(path)
    keys = [info["key"] for info in metadata["parameters"]["classes"]]
    shapes = {output["name"]: output["shape"] for output in metadata["outputs"]}
    picture = base64.b64encode(jpeg()).decode()
    image = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"content_type": "base64"},
        "data": [picture],
    }
    wanted = [{"name": output} for output in ("label", "confidence", "cam")]
    answer = client.ask(f"{path}/infer", {"inputs": [image], "outputs": wanted})
    outputs = {output["name"]: output for output in answer["outputs"]}
    label, confidence = outputs["label"]["data"][0], outputs["confidence"]["data"][0]
    if label not in keys:
        raise SmokeError(f"label is {label!r}; the metadata has the classes {', '.join(keys)}")
    if not 0.0 <= confidence <= 1.0:
        raise SmokeError(f"confidence is {confidence}, no probability")
    cam, expected = outputs["cam"], [1, *shapes["cam"][1:]]
    if cam["shape"] != expected or len(cam["data"]) != math.prod(expected):
        raise SmokeError(
            f"cam has the shape {cam['shape']} and {len(cam['data'])} values; "
            f"the metadata promises {expected}"
        )
    if not all(math.isfinite(value) and value >= 0 for value in cam["data"]):
        raise SmokeError("cam has values that are negative or no numbers")
    return f"version {metadata['versions'][0]}: {label} {confidence:.3f}, map {expected}"


def jpeg() -> bytes:
    """A grey ramp: nobody's picture, and a valid one."""
    target = io.BytesIO()
    Image.linear_gradient("L").resize((SIDE_PX, SIDE_PX)).convert("RGB").save(target, "JPEG")
    return target.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m predictor.smoke",
        description=f"Ask a server for its metadata and one answer; a token is in ${TOKEN}.",
    )
    parser.add_argument("name", help="of the model")
    parser.add_argument("url", nargs="+", help="addresses of one server; the first that is ready")
    parser.add_argument("--patience_s", type=float, default=PATIENCE_S, help="(%(default)s)")
    options = parser.parse_args(argv)
    # The file holds the old and the new token while they are being rotated; either opens.
    token = next(iter(os.environ.get(TOKEN, "").split()), None)
    try:
        client = first_ready([Client(url, token) for url in options.url], options.patience_s)
        print(f"{client.url} is ready")
        print(check_answers(client, options.name))
    except SmokeError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
