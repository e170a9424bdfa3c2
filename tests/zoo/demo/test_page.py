"""The page of `tokenzoo demo --serve` in a real browser, without a window. Run: pytest tests/zoo/demo/test_page.py -m slow

Needs the extra `demo`, selenium, and Chromium with its driver. The server's home, its temporary folder and its current folder are
folders of the test, in which nothing may be left.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenzoo
from PIL import Image
from waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow
MEDIA = Path(tokenzoo.__file__).parent / "zoo/demo/media"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a served page; afterwards the server is ended, and must have left nothing behind."""
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    places = {name: tmp_path_factory.mktemp(name.lower()) for name in ("HOME", "TMPDIR", "current")}
    proxies = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}  # nobody answers
    env = os.environ | {"HOME": str(places["HOME"]), "TMPDIR": str(places["TMPDIR"]), "HF_HUB_OFFLINE": "1"} | proxies
    words = [sys.executable, "-m", "tokenzoo", "demo", "--serve", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env, cwd=places["current"])
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line
        yield line.split()[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 143
        left = [str(p) for place in places.values() for p in place.rglob("*") if p.is_file()]
        assert not left, left
    finally:
        process.kill()


@pytest.fixture(scope="module")
def browser(server):
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chrome = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chrome and driver):
        pytest.skip("there is no Chromium with chromedriver")
    options = selenium.ChromeOptions()
    options.binary_location = chrome
    for flag in ("autoplay-policy=no-user-gesture-required", "use-fake-ui-for-media-stream", "use-fake-device-for-media-stream"):
        options.add_argument(f"--{flag}")
    for flag in ("--no-sandbox", "--headless=new", "--window-size=1400,1500", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(flag)
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    window.set_page_load_timeout(PATIENCE_SECONDS)
    yield window
    window.quit()


@pytest.fixture
def page(browser, server):
    """A freshly loaded page that shows the photograph."""
    browser.get(server)
    see(browser, "#sheet-a img.decoded")
    return browser


def until(browser, condition):
    """Wait until `condition()` holds; returns its value."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, PATIENCE_SECONDS, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(lambda _: condition())


def see(browser, selector: str):
    """The first element that fits, once there is one on the page."""
    return until(browser, lambda: next(iter(browser.find_elements("css selector", selector)), None))


def text_of(browser, selector: str) -> str:
    return browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)


def source_of(browser, selector: str) -> str:
    return browser.execute_script("return document.querySelector(arguments[0])?.src ?? ''", selector)


def drop(browser, file: Path) -> None:
    see(browser, "#drop input[type=file]").send_keys(str(file))


def fill(browser, selector: str, value: object) -> None:
    from selenium.webdriver.common.keys import Keys

    field = see(browser, selector)
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(str(value), Keys.TAB)


def test_a_picture_its_prefix_and_an_edit(page, tmp_path):
    original = source_of(page, "#sheet-a img")
    pixels = np.asarray(Image.open(MEDIA / "chelsea.png").convert("RGB"))[:, ::-1]
    Image.fromarray(pixels[:200, :240]).save(tmp_path / "mirrored.png")
    drop(page, tmp_path / "mirrored.png")
    until(page, lambda: source_of(page, "#sheet-a img") != original)
    numbers = text_of(page, "#sheet-a .numbers")
    assert "1,365\ntokens" in numbers and "13,650\nbits" in numbers and "PSNR" in numbers, "7 codebooks of 13 x 15"
    assert page.execute_script("return document.querySelector('#sheet-a img.decoded').naturalWidth") == 240

    decoded = source_of(page, "#sheet-a img.decoded")
    fill(page, "#codebooks-a input[type=number]", 2)
    until(page, lambda: "3,900\nbits" in text_of(page, "#sheet-a .numbers"))
    assert source_of(page, "#sheet-a img.decoded") != decoded
    assert len(page.find_elements("css selector", "#sheet-a img.tokens")) == 2

    for field, value in (("book", 1), ("position", 97), ("id", 1)):
        fill(page, f"#{field}-a input", value)
    see(page, "#change-a").click()
    until(page, lambda: "position 97: " in text_of(page, "#changed-a"))
    assert "became 1." in text_of(page, "#changed-a") and "of the pixels changed" in text_of(page, "#changed-a")
    assert len(page.find_elements("css selector", "#changed-a img")) == 2
    see(page, "#undo-a").click()
    until(page, lambda: not text_of(page, "#changed-a").strip())


def test_a_click_on_a_token_fills_in_its_place(page):
    from selenium.webdriver.common.action_chains import ActionChains

    grid = page.find_elements("css selector", "#sheet-a img.tokens")[3]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", grid)
    ActionChains(page).move_to_element(grid).click().perform()
    value = "return document.querySelector(arguments[0]).value"
    until(page, lambda: page.execute_script(value, "#book-a input") == "3")
    assert int(page.execute_script(value, "#position-a input")) in range(9 * 29, 10 * 29), "the middle row of 19 x 29"


def test_sound_has_players_and_spectra(page, tmp_path):
    wave, rate = soundfile.read(MEDIA / "speech.flac")
    soundfile.write(tmp_path / "short.wav", wave[:20000], rate)
    drop(page, tmp_path / "short.wav")
    until(page, lambda: len(page.find_elements("css selector", "#sheet-a audio")) == 2)
    assert "photo-f16-rvq7 takes another kind of media, so speech-16khz-4kbps is picked" in text_of(page, "#message")
    assert len(page.find_elements("css selector", "#sheet-a img.spectrum")) == 3
    player = "const player = document.querySelectorAll('#sheet-a audio')[1];"
    until(page, lambda: page.execute_script(player + "return player.readyState >= 2"))
    assert page.execute_script(player + "return player.duration") == pytest.approx(20000 / rate, abs=0.01)
    page.execute_script(player + "player.muted = true; player.play()")
    until(page, lambda: page.execute_script(player + "return player.currentTime > 0"))


def test_sound_is_recorded(page):
    """Chromium's own stand-in for a microphone beeps once a second."""
    see(page, "#record .record-button").click()
    stop = until(page, lambda: next((b for b in page.find_elements("css selector", "#record .stop-button") if b.is_displayed()), None))
    until(page, lambda: "0:01" in text_of(page, "#record"))
    stop.click()
    until(page, lambda: len(page.find_elements("css selector", "#sheet-a audio")) == 2)
    player = "const player = document.querySelectorAll('#sheet-a audio')[1];"
    until(page, lambda: page.execute_script(player + "return player.readyState >= 1"))
    assert page.execute_script(player + "return player.duration") > 0.5


def test_a_bad_file_has_a_plain_message_and_the_page_goes_on(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no picture")
    drop(page, tmp_path / "broken.png")
    until(page, lambda: "cannot read broken.png" in text_of(page, "#message"))
    assert "Traceback" not in page.page_source and page.find_elements("css selector", "#sheet-a img.decoded")
    see(page, "#example-speech").click()
    until(page, lambda: len(page.find_elements("css selector", "#sheet-a audio")) == 2)
    assert "cannot read" not in text_of(page, "#message")


def test_two_tokenizers_side_by_side_and_a_name_that_does_not_exist(page):
    fill(page, "#pick-b input", "photo-f16-rvq7")
    see(page, "#sheet-b img.decoded")
    assert source_of(page, "#sheet-b img.decoded") == source_of(page, "#sheet-a img.decoded")
    fill(page, "#pick-b input", "photo-f16-rvq9")
    until(page, lambda: "no model is called 'photo-f16-rvq9'" in text_of(page, "#message"))
    fill(page, "#pick-b input", "speech-16khz-4kbps")
    until(page, lambda: "speech-16khz-4kbps takes sound, and chelsea.png is a picture" in text_of(page, "#message"))


def test_nothing_is_asked_of_another_machine(page):
    script = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))"
    assert [name for name in page.execute_script(script) if not name.startswith("data:")] == []
