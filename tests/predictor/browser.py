"""A real browser, for the tests of the page."""

import base64
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

VARIABLE = "SIGHTLINE_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Pixels = npt.NDArray[np.uint8]

expect.set_options(timeout=30_000)


def find_chromium() -> str:
    found = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, (
        "the tests of the page need Chromium. Debian: apt-get install chromium. Elsewhere install "
        f"Chromium or Chrome, and if it is not on the PATH set {VARIABLE} to its executable."
    )
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    # Chromium's sandbox does not work for root, who runs tests in containers.
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    executable = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=[*ARGUMENTS, *sandbox]
        )
        yield browser
        browser.close()


class Visit:
    """One page in a window of its own, and whatever went wrong in it.

    Args:
        browser: running.
        url: of the server.
        options: of the window, as Playwright has them.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.faults: list[str] = []
        self.requested: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self._listen(message.type, message.text))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(url)

    def _listen(self, kind: str, text: str) -> None:
        # The browser itself says so of every answer that is not 2xx.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.faults.append(text)

    def ready(self) -> "Visit":
        expect(self.page.locator("#model[data-state=ready]")).to_be_visible()
        return self

    def upload(self, *files: FilePayload) -> None:
        self.page.set_input_files("#input", files)

    def settle(self) -> None:
        """Wait until every image is answered or refused, and the one on view is drawn."""
        expect(self.page.locator("#stop")).to_be_hidden()
        if self.page.locator("canvas.overlay").count():
            expect(self.page.locator("canvas.overlay[data-drawn]")).to_be_visible()

    def canvas(self) -> Pixels:
        text = self.page.evaluate("document.querySelector('canvas.overlay').toDataURL()")
        return pixels_of(base64.b64decode(text.partition(",")[2]))

    def foreign(self, url: str) -> Sequence[str]:
        """Addresses that were asked for and are not the server's."""
        return [each for each in self.requested if not each.startswith((url, "blob:" + url))]


def file_of(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def pixels_of(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def ask(url: str, image: bytes, **parameters: str) -> dict[str, Any]:
    """What the server says to another client, pictures as pixels."""
    outputs = ("probabilities", "label", "confidence", "risk", "overlay", "display")
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode()],
    }
    document = {
        "inputs": [tensor],
        "outputs": [{"name": name} for name in outputs],
        "parameters": parameters,
    }
    answer = httpx.post(f"{url}/v2/models/tiny/infer", json=document).json()
    found = {each["name"]: each["data"] for each in answer["outputs"]}
    return {
        "version": answer["model_version"],
        "probabilities": found["probabilities"],
        **{name: found[name][0] for name in ("label", "confidence", "risk")},
        **{name: pixels_of(base64.b64decode(found[name][0])) for name in ("overlay", "display")},
    }
