"""Requests with reference images, sent to both sides alike where there are too few others."""

import base64
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

_SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm"}
_LOG = logging.getLogger(__name__)


class References:
    """The images of a folder.

    Args:
        folder: JPEG, PNG and DICOM files; those below it are not read.
        model_name: name of the model in the addresses.
        token: sent as `Authorization: Bearer`, if there is one.
        budget_s: how long one call of `send` may take in all.

    Raises:
        ValueError: the folder has no image.
    """

    def __init__(
        self, folder: Path, model_name: str, token: str = "", budget_s: float = 20
    ) -> None:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
        if not files:
            accepted = ", ".join(sorted(_SUFFIXES))
            raise ValueError(f"references.folder {folder} has no image; accepted: {accepted}")
        self._files = files
        self._path = f"/v2/models/{model_name}/infer"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(headers=headers, timeout=budget_s)
        self._budget_s = budget_s

    def send(self, addresses: Sequence[str], count: int, first: int = 0) -> int:
        """Send so many images in turn, each to every side, and return how many were.

        `first` is the number of the first, so that one call goes on where another has ended.
        How they were answered is in the sides' own metrics, so nothing is made of it here.
        """
        end = time.monotonic() + self._budget_s
        for sent in range(count):
            if time.monotonic() > end:
                return sent
            file = self._files[(first + sent) % len(self._files)]
            image = base64.b64encode(file.read_bytes())
            body = {
                "inputs": [
                    {
                        "name": "image",
                        "datatype": "BYTES",
                        "shape": [1],
                        "parameters": {"content_type": "base64"},
                        "data": [image.decode()],
                    }
                ]
            }
            for address in addresses:
                try:
                    self._client.post(address + self._path, json=body)
                except httpx.HTTPError as error:
                    _LOG.warning("a reference request failed", extra={"error": str(error)})
        return count

    def close(self) -> None:
        self._client.close()
