"""The check of a fresh installation, against a real server and against ones that answer wrongly."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from predictor.smoke import TOKEN, jpeg, main
from tests.predictor.servers import RunningServer, free_ports

NAME = "tiny"


def test_a_real_server_passes(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NAME, server.url]) == 0
    said = capsys.readouterr().out
    assert f"{server.url} is ready" in said
    assert "map [1, " in said


def test_the_first_address_that_is_ready_is_asked(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert main([NAME, nobody, server.url + "/"]) == 0
    assert f"{server.url} is ready" in capsys.readouterr().out


def test_another_model_does_not_pass(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["other", server.url]) == 1
    assert "/v2/models/other: status 404" in capsys.readouterr().err


def test_a_server_that_never_gets_ready_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert main([NAME, nobody, "--patience_s", "0"]) == 1
    assert f"not ready: {nobody}/v2/health/ready" in capsys.readouterr().err


def test_a_token_opens(
    bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("new\nold\n")
    flags = ["--bundle", str(bundle.path), "--engine", "onnxruntime", "--token_file", str(tokens)]
    with RunningServer(flags) as guarded:
        guarded.wait_until_ready()
        assert main([NAME, guarded.url]) == 1
        assert "status 401" in capsys.readouterr().err
        monkeypatch.setenv(TOKEN, tokens.read_text())
        assert main([NAME, guarded.url]) == 0


def test_the_picture_is_a_jpeg() -> None:
    with Image.open(BytesIO(jpeg())) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (256, 256)


METADATA: Any = {
    "versions": ["7"],
    "outputs": [{"name": "cam", "shape": [-1, 2, 3]}],
    "parameters": {"classes": [{"key": "normal"}, {"key": "nodule"}]},
}
ANSWER: Any = {
    "outputs": [
        {"name": "label", "shape": [1], "data": ["nodule"]},
        {"name": "confidence", "shape": [1], "data": [0.75]},
        {"name": "cam", "shape": [1, 2, 3], "data": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]},
    ]
}


@contextmanager
def answering(answer: Any) -> Iterator[str]:
    """A server of the right protocol and any answer."""

    class Handler(BaseHTTPRequestHandler):
        def _send(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._send(METADATA)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as wrong:
        thread = threading.Thread(target=wrong.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{wrong.server_port}"
        finally:
            wrong.shutdown()
            thread.join()


def changed(index: int, **keys: Any) -> Any:
    answer = json.loads(json.dumps(ANSWER))
    answer["outputs"][index] |= keys
    return answer


def test_the_right_answer_passes() -> None:
    with answering(ANSWER) as url:
        assert main([NAME, url]) == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (changed(0, data=["mass"]), "label is 'mass'; the metadata has the classes normal, nodule"),
        (changed(1, data=[1.5]), "confidence is 1.5"),
        (changed(2, shape=[1, 3, 2]), "the metadata promises [1, 2, 3]"),
        (changed(2, data=[0.0] * 5), "5 values"),
        (changed(2, data=[-0.1] + [0.0] * 5), "negative"),
    ],
)
def test_a_wrong_answer_does_not_pass(
    answer: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(answer) as url:
        assert main([NAME, url]) == 1
    assert said in capsys.readouterr().err
