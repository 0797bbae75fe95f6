"""The page in a real Chromium, on a real server.

Where a test needs an answer that one browser cannot bring a server to give in a second, the
browser is handed one in its place; such tests say so in their names ("made up").
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Download, FileChooser, Locator, Route, expect

from model.bundle import Bundle
from tests.predictor.browser import Visit, ask, file_of, open_browser, pixels_of
from tests.predictor.bundles import jpeg, phantoms, png
from tests.predictor.servers import RunningServer

Pictures = npt.NDArray[np.uint8]
Open = Callable[..., Visit]

INFER = "**/infer"
BROKEN = b"\x89PNG\r\n\x1a\n and then nothing that a PNG has"


# Not for the session: its event loop would be in the way of the asynchronous tests elsewhere.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, server: RunningServer) -> Iterator[Open]:
    """Opens the page; at the end nothing may have gone wrong in it, seen or unseen."""
    visits: list[Visit] = []

    def open_page(**options: Any) -> Visit:
        visits.append(Visit(browser, server.url, **options))
        return visits[-1].ready()

    yield open_page
    for each in visits:
        each.context.close()
        assert each.faults == []
        assert each.foreign(server.url) == []


@pytest.fixture(scope="module")
def image(pictures: Pictures) -> bytes:
    return png(pictures[0])


def rows(visit: Visit) -> Locator:
    return visit.page.locator("#rows .open")


def classes(visit: Visit) -> Locator:
    return visit.page.locator(".class")


def saved(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def test_an_upload_is_answered_in_the_words_of_the_model(
    visit: Open, server: RunningServer, bundle: Bundle, image: bytes
) -> None:
    opened = visit()
    about = opened.page.locator("#about")
    for info in bundle.manifest.classes:
        expect(about).to_contain_text(info.name)
        expect(about).to_contain_text(info.description)
    opened.upload(file_of("chest.png", image))
    opened.settle()
    said = ask(server.url, image)
    infos = {info.key: info for info in bundle.manifest.classes}
    answer = opened.page.locator("article")
    expect(answer.locator(".label")).to_have_text(infos[said["label"]].name)
    expect(answer.locator(".description")).to_have_text(infos[said["label"]].description)
    expect(answer.locator(".risk")).to_have_text(said["risk"])
    expect(answer.locator(".confidence")).to_have_text(f"{100 * said['confidence']:.1f} %")
    expect(answer.locator(".facts")).to_contain_text("tiny")
    expect(answer.locator(".facts")).to_contain_text(said["version"])
    expect(answer.locator(".facts")).to_contain_text("Round trip")
    expect(opened.page.locator(".notice")).to_contain_text("Not for diagnosis")
    expect(opened.page.locator("#status")).to_contain_text(f"risk level {said['risk']}")
    order = np.argsort(said["probabilities"])[::-1]
    assert answer.locator(".class-name").all_inner_texts() == [
        bundle.manifest.classes[k].name for k in order
    ]
    shares = answer.locator(".bar span").evaluate_all("all => all.map(each => each.style.width)")
    found = [float(share.removesuffix("%")) for share in shares]
    assert np.allclose(found, 100 * np.array(said["probabilities"])[order], atol=0.1)


def test_the_picture_and_the_overlay_of_every_class_are_the_server_s(
    visit: Open, server: RunningServer, bundle: Bundle
) -> None:
    image = jpeg(np.kron(phantoms(1, seed=5)[0][:48], np.ones((6, 5, 1), np.uint8)))
    opened = visit()
    opened.upload(file_of("wide.jpg", image))
    opened.settle()
    seen = []
    for info in bundle.manifest.classes:
        opened.page.get_by_role("radio", name=info.name).check()
        expect(opened.page.locator(".explained")).to_contain_text(info.name)
        drawn = opened.canvas().astype(int)
        expected = ask(server.url, image, explain_class=info.key)["overlay"].astype(int)
        assert drawn.shape == expected.shape == (144, 160, 3)
        assert np.abs(drawn - expected).max() <= 1
        seen.append(drawn)
    assert all((a != b).any() for a, b in itertools.pairwise(seen))


def test_the_slider_changes_how_strong_the_overlay_is(
    visit: Open, server: RunningServer, image: bytes
) -> None:
    opened = visit()
    opened.upload(file_of("chest.png", image))
    opened.settle()
    slider = opened.page.get_by_role("slider", name="Overlay opacity")
    expect(slider).to_have_value("60")
    usual = opened.canvas()
    slider.press("Home")
    expect(opened.page.locator("output")).to_have_text("0 %")
    bare = opened.canvas()
    assert np.array_equal(bare, ask(server.url, image)["display"])
    slider.press("End")
    full = opened.canvas()
    colours = [np.abs(each.astype(int) - bare).sum() for each in (usual, full)]
    assert 0 < colours[0] < colours[1]


def test_an_undecided_answer_is_explained(visit: Open, server: RunningServer) -> None:
    image = next(
        each
        for each in map(png, phantoms(40, seed=11))
        if ask(server.url, each)["risk"] == "Indeterminate"
    )
    opened = visit()
    opened.upload(file_of("unsure.png", image))
    opened.settle()
    expect(opened.page.locator(".risk")).to_have_text("Indeterminate")
    confidence = f"{100 * ask(server.url, image)['confidence']:.1f} %"
    why = opened.page.locator(".undecided")
    expect(why).to_contain_text(f"the highest probability, {confidence}, is less than the 70 %")


@pytest.mark.parametrize(
    ("content", "title", "reason"),
    [
        (BROKEN, "This file could not be read as an image", "damaged PNG image"),
        (b"", "This file could not be read as an image", "image is empty"),
        (b"a letter", "not a kind of file that the server reads", "JPEG"),
        (bytes(4_000_000), "This image is too large", "3.8 MB"),
    ],
    ids=["broken", "empty", "text", "large"],
)
def test_a_refusal_is_told_in_plain_words_with_the_server_s_reason(
    visit: Open, content: bytes, title: str, reason: str
) -> None:
    opened = visit()
    opened.upload(file_of("file.png", content))
    opened.settle()
    failed = opened.page.locator(".failed")
    expect(failed.get_by_role("heading")).to_contain_text(title)
    expect(failed.locator(".reason")).to_contain_text(reason)
    expect(failed.locator(".reason")).not_to_contain_text("image 0")
    # Of no use: the same file would be refused again.
    expect(opened.page.get_by_role("button", name="Try again")).to_have_count(0)
    expect(opened.page.locator("#status")).to_contain_text(title)
    sent = any(each.endswith("/infer") for each in opened.requested)
    assert sent == (len(content) < 4_000_000)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_made_up_is_asked_again_after_the_time_it_names(
    visit: Open, image: bytes, status: int
) -> None:
    asked = []

    def answer(route: Route) -> None:
        asked.append(route)
        if len(asked) > 2:
            return route.continue_()
        headers = {"retry-after": "0.2", "content-type": "application/json"}
        return route.fulfill(status=status, headers=headers, body='{"error": "full"}')

    opened = visit()
    opened.page.route(INFER, answer)
    opened.upload(file_of("chest.png", image))
    expect(rows(opened)).to_contain_text("asking again")
    opened.settle()
    expect(opened.page.locator("article .label")).to_be_visible()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("status", "title"), [(504, "took too long"), (500, "could not answer"), (404, "no longer")]
)
def test_after_a_failure_made_up_the_image_can_be_tried_again(
    visit: Open, image: bytes, status: int, title: str
) -> None:
    opened = visit()
    body = '{"error": "the reason"}'
    opened.page.route(
        INFER,
        lambda route: route.fulfill(status=status, content_type="application/json", body=body),
    )
    opened.upload(file_of("chest.png", image))
    expect(opened.page.locator(".failed .title")).to_contain_text(title)
    expect(opened.page.locator(".failed .reason")).to_have_text("the reason")
    opened.page.unroute(INFER)
    opened.page.locator("#result").get_by_role("button", name="Try again").click()
    opened.settle()
    expect(opened.page.locator("article .label")).to_be_visible()


def test_an_answer_made_up_that_is_no_answer_is_a_failure_too(visit: Open, image: bytes) -> None:
    opened = visit()
    opened.page.route(INFER, lambda route: route.fulfill(status=200, body="<html>sign in</html>"))
    opened.upload(file_of("chest.png", image))
    expect(opened.page.locator(".failed .title")).to_contain_text("could not be understood")


def test_a_lost_connection_is_told_and_found_again(visit: Open, image: bytes) -> None:
    opened = visit()
    opened.context.set_offline(True)
    opened.upload(file_of("one.png", image), file_of("two.png", image))
    expect(opened.page.locator(".failed .title")).to_have_text("The server cannot be reached")
    expect(opened.page.locator("#model")).to_have_attribute("data-state", "down")
    expect(opened.page.locator("#progress")).to_have_text("2 images, 2 failed")
    opened.context.set_offline(False)
    opened.ready()
    opened.page.locator("#again").click()
    opened.settle()
    expect(opened.page.locator("#progress")).to_have_text("2 images")


def test_while_the_model_made_up_is_loading_images_wait(visit: Open, image: bytes) -> None:
    opened = visit()
    loading = True

    def models(route: Route) -> None:
        route.fulfill(json={"models": []}) if loading else route.continue_()

    opened.page.route("**/v2/models", models)
    opened.page.reload()
    expect(opened.page.locator("#model")).to_contain_text("loading")
    opened.upload(file_of("chest.png", image))
    expect(rows(opened)).to_contain_text("Waiting")
    loading = False
    opened.settle()
    expect(opened.page.locator("article .label")).to_be_visible()


def test_a_token_is_asked_for_once_and_kept_nowhere(visit: Open, image: bytes) -> None:
    """The server's refusal is made up; what the browser then sends is not."""
    seen = []

    def guard(route: Route) -> None:
        token = route.request.headers.get("authorization", "")
        seen.append(token)
        if token == "Bearer right":
            return route.continue_()
        headers = {"www-authenticate": "Bearer", "content-type": "application/json"}
        return route.fulfill(status=401, headers=headers, body='{"error": "no token"}')

    opened = visit()
    opened.page.route(INFER, guard)
    opened.upload(*(file_of(f"{n}.png", image) for n in range(3)))
    dialog = opened.page.get_by_role("dialog", name="Access token")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Token", exact=True).fill("wrong")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_contain_text("did not accept that token")
    dialog.get_by_label("Token", exact=True).fill("right")
    opened.page.keyboard.press("Enter")
    opened.settle()
    expect(dialog).to_be_hidden()
    expect(opened.page.locator("#progress")).to_have_text("3 images")
    assert seen.count("Bearer right") == 3
    assert set(seen) == {"", "Bearer wrong", "Bearer right"}
    kept = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert opened.page.evaluate(kept) == [0, 0, ""]


def test_whoever_has_no_token_is_told_that_one_is_needed(visit: Open, image: bytes) -> None:
    """The server's refusal is made up."""
    opened = visit()
    opened.page.route(INFER, lambda route: route.fulfill(status=401))
    opened.upload(file_of("chest.png", image))
    expect(opened.page.get_by_role("dialog")).to_be_visible()
    opened.page.keyboard.press("Escape")
    expect(opened.page.get_by_role("dialog")).to_be_hidden()
    expect(opened.page.locator(".failed .title")).to_contain_text("asks for an access token")


def test_a_token_that_is_needed_for_everything_is_asked_for_when_it_is_needed(
    visit: Open, image: bytes
) -> None:
    """The server's refusal is made up."""

    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer right":
            return route.continue_()
        return route.fulfill(status=401)

    opened = visit()
    opened.page.route("**/v2/**", guard)
    opened.page.reload()
    dialog = opened.page.get_by_role("dialog", name="Access token")
    dialog.get_by_role("button", name="Cancel").click()
    expect(opened.page.locator("#model")).to_contain_text("asks for an access token")
    opened.upload(file_of("chest.png", image))
    dialog.get_by_label("Token", exact=True).fill("right")
    dialog.get_by_role("button", name="Continue").click()
    opened.settle()
    expect(opened.page.locator("article .label")).to_be_visible()


def test_many_files_go_a_few_at_a_time_and_each_gets_its_own_answer(
    visit: Open, server: RunningServer, bundle: Bundle
) -> None:
    images = [png(each) for each in phantoms(24, seed=21)]
    names = {info.key: info.name for info in bundle.manifest.classes}
    opened = visit()
    flying, most = 0, 0

    def count(change: int) -> Callable[[Any], None]:
        def note(request: Any) -> None:
            nonlocal flying, most
            flying += change * request.url.endswith("/infer")
            most = max(most, flying)

        return note

    opened.page.on("request", count(1))
    opened.page.on("requestfinished", count(-1))
    files = [file_of(f"{n}.png", each) for n, each in enumerate(images)]
    opened.upload(*files[:12], file_of("broken.png", BROKEN), *files[12:])
    opened.settle()
    assert 1 < most <= 3
    expect(opened.page.locator("#progress")).to_have_text("25 images, 1 failed")
    expect(opened.page.locator("#status")).to_contain_text("All done: 25 images, 1 failed")
    with opened.page.expect_download() as event:
        opened.page.get_by_role("button", name="Save all").click()
    records = json.loads(saved(event.value))
    broken = records.pop(12)
    assert (broken["file"], broken["error"]["status"]) == ("broken.png", 400)
    assert [record["file"] for record in records] == [f"{n}.png" for n in range(24)]
    for n in (0, 7, 23):
        said = ask(server.url, images[n])
        assert records[n]["label"] == said["label"]
        assert list(records[n]["probabilities"].values()) == pytest.approx(said["probabilities"])
        rows(opened).nth(n + (n > 11)).click()
        expect(opened.page.locator("article .filename")).to_have_text(f"{n}.png")
        expect(opened.page.locator("article .label")).to_have_text(names[said["label"]])
    opened.page.get_by_role("button", name="Clear").click()
    expect(rows(opened)).to_have_count(0)
    expect(opened.page.locator("#about")).to_be_visible()


def test_results_and_overlays_can_be_saved(
    visit: Open, server: RunningServer, image: bytes
) -> None:
    opened = visit()
    opened.upload(file_of("chest.left.png", image))
    opened.settle()
    opened.page.get_by_role("radio").last.check()
    opened.page.get_by_role("slider").press("End")
    said = ask(server.url, image)
    with opened.page.expect_download() as event:
        opened.page.get_by_role("button", name="Save overlay").click()
    assert event.value.suggested_filename.startswith("chest.left-")
    assert np.array_equal(pixels_of(saved(event.value)), opened.canvas())
    with opened.page.expect_download() as event:
        opened.page.get_by_role("button", name="Save result").click()
    assert event.value.suggested_filename == "chest.left.json"
    record = json.loads(saved(event.value))
    assert record["model"] == {"name": "tiny", "version": said["version"]}
    assert record["risk"] == said["risk"]
    assert record["confidence"] == pytest.approx(said["confidence"])
    assert record["notice"] == "Not for diagnosis."
    assert {"round_trip", "decode", "queue", "infer", "encode"} == set(record["milliseconds"])


def test_everything_can_be_done_with_the_keyboard(visit: Open, pictures: Pictures) -> None:
    opened = visit()
    press = opened.page.keyboard.press
    focused = opened.page.locator(":focus")
    press("Tab")
    choosers: list[FileChooser] = []
    opened.page.on("filechooser", lambda each: choosers.append(each))
    for _ in range(100):
        # Chromium opens no chooser for a key that comes right after a page's first load.
        press("Enter")
        opened.page.wait_for_timeout(100)
        if choosers:
            break
    files = [file_of(f"{n}.png", png(each)) for n, each in enumerate(pictures[:3])]
    choosers[0].set_files(files)
    opened.settle()
    opened.page.locator("#input").focus()
    for name in ("Save all", "Clear"):
        press("Tab")
        expect(focused).to_have_text(name)
    press("Tab")
    expect(focused).to_have_attribute("aria-current", "true")
    expect(focused).to_contain_text("0.png")
    press("ArrowDown")
    expect(opened.page.locator("article .filename")).to_have_text("1.png")
    press("Delete")
    expect(rows(opened)).to_have_count(2)
    expect(opened.page.locator("article .filename")).to_have_text("2.png")
    expect(focused).to_contain_text("2.png")
    opened.settle()
    press("Tab")
    expect(focused).to_have_accessible_name("Remove 2.png")
    for name in ("Save overlay", "Save result"):
        press("Tab")
        expect(focused).to_have_text(name)
    press("Tab")
    press("ArrowRight")
    expect(opened.page.locator("output")).to_have_text("61 %")
    press("Tab")
    before = opened.canvas()
    press("ArrowDown")
    expect(focused).to_be_checked()
    assert not np.array_equal(opened.canvas(), before)
    ring = focused.evaluate("e => getComputedStyle(e.closest('.class')).outlineStyle")
    assert ring == "solid"


def test_escape_stops_what_is_not_answered_and_it_can_be_taken_up_again(
    visit: Open, image: bytes
) -> None:
    opened = visit()
    # Never answered: the requests hang until the page gives them up.
    opened.page.route(INFER, lambda route: None)
    opened.upload(*(file_of(f"{n}.png", image) for n in range(5)))
    expect(opened.page.get_by_text("Being read")).to_have_count(4)
    opened.page.keyboard.press("Escape")
    expect(opened.page.locator("#progress")).to_have_text("5 images, 5 stopped")
    expect(opened.page.locator("#status")).to_contain_text("5 images")
    opened.page.unroute(INFER)
    opened.page.locator("#result").get_by_role("button", name="Try again").click()
    expect(opened.page.locator("article .label")).to_be_visible()
    opened.page.locator("#again").click()
    opened.settle()
    expect(opened.page.locator("#progress")).to_have_text("5 images")


def test_what_is_removed_while_it_is_answered_stays_away(visit: Open, image: bytes) -> None:
    opened = visit()
    opened.page.route(INFER, lambda route: None)
    opened.upload(file_of("one.png", image))
    opened.page.get_by_role("button", name="Remove one.png").click()
    expect(rows(opened)).to_have_count(0)
    expect(opened.page.locator("#result")).to_be_hidden()
    opened.page.unroute(INFER)
    opened.upload(file_of("two.png", image))
    opened.settle()
    expect(opened.page.locator("article .filename")).to_have_text("two.png")


def test_images_can_be_dropped_anywhere(visit: Open, image: bytes) -> None:
    opened = visit()
    transfer = opened.page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.png'));
            return transfer;
        }""",
        list(image),
    )
    opened.page.dispatch_event(".notice", "drop", {"dataTransfer": transfer})
    opened.settle()
    expect(opened.page.locator("article .filename")).to_have_text("dropped.png")


def test_a_name_is_shown_as_it_is_and_never_sent(visit: Open, image: bytes) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    opened = visit()
    bodies: list[bytes] = []
    opened.page.on("request", lambda each: bodies.append(each.post_data_buffer or b""))
    opened.upload(file_of(name, image))
    opened.settle()
    expect(opened.page.locator("article .filename")).to_have_text(name)
    assert not any(b"onerror" in body for body in bodies)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_in_any_state(visit: Open, image: bytes, scheme: str) -> None:
    opened = visit(color_scheme=scheme)
    brightness = opened.page.evaluate(
        "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
    )
    assert (brightness < 50) == (scheme == "dark")
    check = Axe()

    def clean() -> None:
        found = check.run(opened.page)
        assert found.violations_count == 0, found.generate_report()

    clean()
    opened.upload(file_of("chest.png", image), file_of("broken.png", BROKEN))
    opened.settle()
    clean()
    rows(opened).nth(1).click()
    expect(opened.page.locator(".failed")).to_be_visible()
    clean()
    opened.page.evaluate("document.querySelector('#token').showModal()")
    clean()


def test_a_phone_shows_it_all_without_scrolling_sideways(visit: Open, image: bytes) -> None:
    opened = visit(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        reduced_motion="reduce",
    )
    width = "[document.documentElement.scrollWidth, innerWidth]"
    assert opened.page.evaluate(width) == [360, 360]
    opened.page.route(INFER, lambda route: None)
    name = "a-name-without-any-place-to-break-it-that-is-wider-than-the-phone-itself.png"
    opened.upload(file_of(name, image), file_of("broken.png", BROKEN))
    expect(rows(opened).first).to_contain_text("Being read")
    moving = "document.getAnimations().filter(each => each.playState === 'running').length"
    assert opened.page.evaluate(moving) == 0
    opened.page.keyboard.press("Escape")
    opened.page.unroute(INFER)
    opened.page.locator("#again").click()
    opened.settle()
    for row in (1, 0):
        rows(opened).nth(row).click()
        assert opened.page.evaluate(width) == [360, 360]
    expect(opened.page.get_by_role("slider")).to_be_visible()
