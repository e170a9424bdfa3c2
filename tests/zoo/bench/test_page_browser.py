"""The page of benches in a real Chromium without a window, opened from disk. Run: pytest tests/zoo/bench/test_page_browser.py"""

import json
import shutil
from pathlib import Path

import pytest
import tokenzoo
from tokenzoo.zoo.bench import Settings, bench
from tokenzoo.zoo.bench.page import write
from waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow
MEDIA = Path(tokenzoo.__file__).parent / "zoo/demo/media"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    shown = [MEDIA / "chelsea.png", MEDIA / "speech.flac"]
    settings = Settings(cost=False, sweeps=("codebooks=2",))
    names = ("photo-f16-rvq7", "speech-16khz-4kbps")
    parts = [bench([n], [f], settings=settings, own_process=False, codecs=True) for n, f in zip(names, shown, strict=True)]
    return write(parts, out, show=shown)


@pytest.fixture(scope="module")
def window():
    driver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, chrome = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or chrome is None:
        pytest.skip("no Chromium with chromedriver is installed")
    options = driver.ChromeOptions()
    options.binary_location = chrome
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "mute-audio", "autoplay-policy=no-user-gesture-required"):
        options.add_argument(f"--{word}")
    opened = driver.Chrome(options=options, service=driver.ChromeService(program))
    opened.set_page_load_timeout(PATIENCE_SECONDS)
    opened.set_script_timeout(PATIENCE_SECONDS)
    yield opened
    opened.quit()


@pytest.fixture
def page(window, site):
    """The page, freshly opened; a script in it with `return` gives its value."""
    window.get_log("browser"), window.get_log("performance")
    window.get("about:blank")
    window.get(site.as_uri())
    return window.execute_script


def column(page, table: str, number: int) -> list[str]:
    script = "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(r => r.cells[arguments[1]].textContent)"
    return page(script, table, number)


def click(page, selector: str) -> None:
    page("document.querySelector(arguments[0]).click()", selector)


def test_nothing_is_asked_for_and_nothing_goes_wrong(page, window, site):
    page("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
    decode = "Promise.all([...document.images].map(i => i.decode())).then(() => arguments[0](document.images.length))"
    assert window.execute_async_script(decode) > 8, "every picture and spectrogram can be decoded"
    play = "const a = document.querySelector('audio'); a.oncanplay = () => arguments[0](a.duration); a.load()"
    assert window.execute_async_script(play) == pytest.approx(4.955, abs=0.1)
    sent = [json.loads(e["message"])["message"] for e in window.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"}
    own = (site.parent.as_uri(), "about:blank", "data:")  # the last: symbols of the browser's own player
    assert site.as_uri() in asked and not [u for u in asked if not u.startswith(own)]
    assert not window.get_log("browser"), "no message on the console: no error, nothing that the policy refused"


def test_a_click_sorts_and_says_so(page):
    place = page("return [...document.querySelectorAll('#measured-0 thead th')].findIndex(h => h.textContent.startsWith('PSNR'))")
    head = f"#measured-0 thead th:nth-child({place + 1})"
    before = column(page, "measured-0", place)
    click(page, f"{head} button")
    first = [float(v) for v in column(page, "measured-0", place)]
    assert first == sorted(first, reverse=True) and page(f"return document.querySelector('{head}').ariaSort") == "descending"
    click(page, f"{head} button")
    assert [float(v) for v in column(page, "measured-0", place)] == first[::-1] and len(before) == len(first) > 4
    assert page("return document.querySelectorAll('#measured-0 [aria-sort]').length") == 1
    click(page, "#measured-0 thead th button")
    assert column(page, "measured-0", 0) == sorted(column(page, "measured-0", 0), key=str.lower)


def test_missing_values_stay_last(page):
    table = "published-image-0"
    place = page(f"return [...document.querySelectorAll('#{table} thead th')].findIndex(h => h.textContent.startsWith('PSNR'))")
    for _ in range(2):
        click(page, f"#{table} thead th:nth-child({place + 1}) button")
        values = column(page, table, place)
        count = values.index("\N{EN DASH}")
        assert 10 < count < len(values) and set(values[count:]) == {"\N{EN DASH}"}


def test_filters_groups_and_links(page):
    script = "const f = document.querySelector(arguments[0]); f.value = arguments[1]; f.dispatchEvent(new Event('input'))"
    page(script, "input[data-filters='details.card']", "mimi kyutai")
    shown = page("return [...document.querySelectorAll('details.card')].filter(d => !d.hidden).map(d => d.id)")
    assert "card-mimi" in shown and len(shown) < 10
    visible = "return [...document.querySelectorAll('#measured-0 thead th')].filter(h => h.offsetWidth).length"
    few = page(visible)
    click(page, "input[data-table='measured-0'][data-group='codebooks']")
    assert page(visible) > few
    click(page, "#measured-0 a[href='#card-photo-f16-rvq7']")
    wait = "const done = arguments[0]; setTimeout(() => done(document.getElementById('card-photo-f16-rvq7').open), 50)"
    assert page("return location.hash") == "#card-photo-f16-rvq7"
    assert page.__self__.execute_async_script(wait) is True


def test_the_original_in_place_of_the_reconstruction(page):
    picture = "document.querySelector('button[data-original]').closest('figure').querySelector('img').getAttribute('src')"
    own = page(f"return {picture}")
    click(page, "button[data-original]")
    assert page(f"return {picture}") == "media/image-01-00.webp" != own
    click(page, "button[data-original]")
    assert page(f"return {picture}") == own


@pytest.mark.parametrize("wide", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(page, window, wide):
    size = {"width": wide, "height": 800, "deviceScaleFactor": 1, "mobile": wide < 700}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page("document.querySelectorAll('details').forEach(d => { d.open = true })")
    try:
        assert page("return document.documentElement.scrollWidth") <= wide
    finally:
        window.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_both_themes(page, window, scheme):
    """Contrast of text against its ground is 4.5 or more, the bound of WCAG for small text."""
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    script = """
      const linear = v => v <= 10.02 ? v / 3294.6 : ((v / 255 + .055) / 1.055) ** 2.4;
      const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(linear); return .2126 * r + .7152 * g + .0722 * b };
      const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c)) return c } return "rgb(255, 255, 255)" };
      const some = "h1 p .soft .badge .badge.good .badge.warn td td.best tr.reference thead tbody>tr>th>a figcaption dt".split(" ");
      return some.map(s => { const e = document.querySelector(s), a = light(getComputedStyle(e).color), b = light(ground(e));
          return [s, (Math.max(a, b) + .05) / (Math.min(a, b) + .05)] })"""
    poor = [(where, ratio) for where, ratio in page(script) if ratio < 4.5]
    assert not poor
    assert page("document.getElementById('theme').click(); return document.documentElement.dataset.theme") != scheme
