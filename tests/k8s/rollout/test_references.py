"""Reference images go to both sides alike."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from k8s.rollout.references import References
from k8s.rollout.standard import Standard
from predictor.protocol import v2
from predictor.query import Contract
from tests.k8s.rollout.fake_cluster import World
from tests.k8s.rollout.test_controller import analyst, looks, until_done

Asked = tuple[str, str | None, bytes]


@contextmanager
def listening(status: int = 200) -> Iterator[tuple[str, list[Asked]]]:
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers.get("Authorization"), body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.PNG", "c.dcm", "readme.txt"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def images(asked: list[Asked]) -> list[bytes]:
    """As the predictor reads them."""
    contract = Contract(("normal", "nodule"), (2, 2))
    queries = [v2.parse(body, None, contract).query for _, _, body in asked]
    return [bytes(each) for query in queries for each in query.images]


def test_both_sides_get_the_same_images_in_turn_as_the_predictor_reads_them(folder: Path) -> None:
    with (
        listening() as (primary, first),
        listening() as (target, second),
        closing(References(folder, "cxr", "secret")) as references,
    ):
        assert references.send((primary, target), 5) == 5
    assert images(first) == [b"a.jpg", b"b.PNG", b"c.dcm", b"a.jpg", b"b.PNG"]
    assert images(second) == images(first)
    assert {(path, token) for path, token, _ in first + second} == {
        ("/v2/models/cxr/infer", "Bearer secret")
    }


def test_each_look_goes_on_where_the_last_one_has_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or only the first of many images would ever be asked about, again and again."""
    policy = {
        "steps": [50, 100],
        "min_step_s": 60,
        "settle_s": 0,
        "silence_s": 0,
        "on_silence": "probe",
        "probe": {"requests_per_look": 2},
    }
    world = World(policy, {"references": {"folder": str(folder)}})
    world.upgrade("A")
    until_done(world)
    world.upgrade("B")
    world.rate = 0.0
    with listening() as (primary, first), listening() as (target, second):
        monkeypatch.setattr(Standard, "addresses", lambda _: (primary, target))
        controller = analyst(world)
        while len(second) < 6:
            looks(world, 1, controller)
    assert images(second)[:6] == [b"a.jpg", b"b.PNG", b"c.dcm"] * 2
    assert images(first) == images(second)


def test_a_side_that_refuses_or_is_gone_does_not_keep_the_other_from_being_asked(
    folder: Path,
) -> None:
    with listening() as (gone, _):
        pass
    with listening(503) as (primary, first), closing(References(folder, "cxr")) as references:
        assert references.send((gone, primary), 3) == 3
    assert len(first) == 3
    assert first[0][1] is None


def test_it_takes_no_longer_than_it_may(folder: Path) -> None:
    with (
        listening() as (primary, asked),
        closing(References(folder, "cxr", budget_s=1e-9)) as references,
    ):
        assert references.send((primary,), 1000) < 1000
    assert len(asked) < 1000


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(ValueError, match=r"references\.folder .* has no image; accepted: \.dcm"):
        References(tmp_path, "cxr")
