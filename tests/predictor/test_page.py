"""The page as other clients see it; tests/predictor/test_browser.py opens it."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from model.bundle import Bundle
from predictor.openapi import FAILURES
from predictor.page import WEB, Page
from tests.predictor.servers import ROOT, RunningServer

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FILES = sorted(each.name for each in WEB.iterdir() if each.suffix != ".html")


def test_a_browser_gets_the_page_and_a_probe_gets_kserve_s_answer(server: RunningServer) -> None:
    page = httpx.get(server.url, headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    for accept in ("*/*", "application/json", ""):
        probe = httpx.get(server.url, headers={"accept": accept})
        assert (probe.status_code, probe.json()) == (200, {"status": "alive"})
        assert probe.headers["vary"] == page.headers["vary"] == "accept"


def test_the_page_has_words_for_every_refusal() -> None:
    known = re.findall(r"^  (\d+): \[", (WEB / "words.js").read_text(), re.MULTILINE)
    # Of an error of the server's own there is nothing to say but that.
    assert {kind.status for kind in FAILURES} - {500} <= {int(status) for status in known}


def test_the_page_can_load_nothing_from_elsewhere_and_run_nothing_inline(
    server: RunningServer,
) -> None:
    headers = httpx.get(server.url, headers=HTML).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_no_file_names_another_host(name: str) -> None:
    text = (WEB / name).read_text()
    assert set(re.findall(r"https?://[\w./-]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in text


def test_files_are_kept_for_ever_under_an_address_that_changes_with_them(
    server: RunningServer, tmp_path: Path
) -> None:
    page = httpx.get(server.url, headers=HTML).text
    addresses = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    digest = Page().digest
    assert addresses == {f"page/{digest}/{name}" for name in ("app.js", "icon.svg", "style.css")}
    for name in FILES:
        file = httpx.get(f"{server.url}/page/{digest}/{name}")
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.content == (WEB / name).read_bytes()
    shutil.copytree(WEB, tmp_path, dirs_exist_ok=True)
    assert Page(tmp_path).digest == digest
    (tmp_path / "style.css").write_text("body { color: red }")
    assert Page(tmp_path).digest != digest


def test_the_page_itself_is_asked_for_anew_and_sent_only_if_it_has_changed(
    server: RunningServer,
) -> None:
    first = httpx.get(server.url, headers=HTML)
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known, status in ((tag, 304), (f'W/{tag}, "x"', 304), ('"x"', 200)):
        again = httpx.get(server.url, headers={**HTML, "if-none-match": known})
        assert again.status_code == status
        assert bool(again.content) == (status == 200)


def test_files_of_a_pod_with_another_page_are_given_but_not_kept(server: RunningServer) -> None:
    file = httpx.get(f"{server.url}/page/0123456789abcdef/app.js")
    assert (file.status_code, file.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["absent.js", "index.html", "..%2fpage.py", "%2e%2e"])
def test_nothing_else_of_the_package_is_served(server: RunningServer, name: str) -> None:
    assert httpx.get(f"{server.url}/page/0/{name}").status_code == 404


def test_without_the_page_the_root_is_kserve_s(bundle: Bundle) -> None:
    off = {"SIGHTLINE_PAGE": "false"}
    with RunningServer(["--bundle", str(bundle.path), "--engine", "onnxruntime"], off) as server:
        server.wait_until_ready()
        root = httpx.get(server.url, headers=HTML)
        assert (root.status_code, root.json()) == (200, {"status": "alive"})
        assert httpx.get(f"{server.url}/page/{Page().digest}/app.js").status_code == 404


def test_an_installed_package_has_the_page(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "predictor", tmp_path / "predictor")
    build = "import setuptools.build_meta as b; print(b.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    wheel = zipfile.ZipFile(tmp_path / "dist" / done.stdout.splitlines()[-1])
    assert {f"predictor/web/{name}" for name in ("index.html", *FILES)} <= set(wheel.namelist())
