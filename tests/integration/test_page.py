"""The operator's page in Chromium on the real api: user actions and the displayed pixels."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from districam_common.contract.names import format_rfc3339
from districam_devkit import bitstream
from districam_devkit.servers import Servers
from support.chromium_page import PageLog, chromium, shown_frame, shown_frames
from support.page_site import CROSSROADS, FPS, GAP_S, HEVC, LOOP_S, MARKET, START_US, PageSite, S, running_page_site

expect.set_options(timeout=10_000)
pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
FRAME_US = S // FPS
NAME = "Ngã tư Liên Nghĩa"
Open = Callable[..., Awaitable[Page]]


def at(seconds: float) -> str:
    return format_rfc3339(START_US + round(seconds * S))


def local(seconds: float) -> tuple[str, str]:
    """Date and time in local time, as a user in Đức Trọng would type them."""
    moment = datetime.fromtimestamp(START_US / S + seconds, UTC).astimezone(ZONE)
    return moment.strftime("%d/%m/%Y"), moment.strftime("%H:%M:%S")


def number_at(us: int) -> int:
    """The number of the picture shown at an instant."""
    return (us - START_US) // FRAME_US % (LOOP_S * FPS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[PageSite]:
    async with running_page_site(servers, tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def visit(world: PageSite, browser: Browser) -> AsyncGenerator[Open]:
    """Opens the page; at the end, it must have logged no errors and requested nothing from other hosts."""
    pages: list[tuple[Page, PageLog, str]] = []

    async def opened(hash_: str = "", url: str = world.keyless_api.url, **context: object) -> Page:
        settings = {"viewport": {"width": 1280, "height": 800}, "locale": "vi-VN", **context}
        page = await (await browser.new_context(**settings)).new_page()  # pyright: ignore[reportArgumentType]
        page.set_default_timeout(10_000)
        heard = PageLog()
        heard.attach(page)
        pages.append((page, heard, url))
        await page.goto(f"{url}/{hash_}")
        return page

    yield opened
    for page, heard, url in pages:
        await page.context.close()
        complaints = [one for one in heard.problems if "status of 401" not in one and "of 429" not in one]
        assert complaints == []
        others = [one for one in heard.requested_urls if not one.startswith((f"{url}/", f"blob:{url}/", "data:"))]
        assert others == []


async def plays(page: Page, n: int = 0) -> None:
    """Waits until the n-th video shows a picture."""
    await page.wait_for_function(
        "(n) => { const v = document.querySelectorAll('video')[n];"
        " return v && v.readyState >= 2 && v.videoWidth > 0 && !v.seeking; }",
        arg=n,
    )


async def rests(page: Page) -> None:
    """Waits until the first video is paused and shows its picture."""
    await page.wait_for_function(
        "() => { const v = document.querySelector('video'); return v.paused && !v.seeking && v.readyState >= 2; }"
    )


async def rests_at(page: Page, us: int, n: int = 0) -> None:
    """Waits until the n-th video is paused at an instant."""
    await page.wait_for_function(
        "([n, us]) => { const v = document.querySelectorAll('video')[n];"
        " return v && v.paused && !v.seeking && v.readyState >= 2"
        " && Math.abs(Number(v.dataset.base) + v.currentTime * 1e6 - us) < 3000; }",
        arg=[n, us],
    )


async def ask(page: Page, place: str, seconds: float) -> None:
    date, time = local(seconds)
    await page.fill("#place", place)
    await page.fill("#date", date)
    await page.fill("#time", time)
    await page.press("#time", "Enter")


# ---- search and playback


async def test_searching_place_date_and_time_shows_that_second(visit: Open):
    page = await visit()
    await ask(page, "lien nghia", 100)
    await expect(page.locator("#count")).to_have_text("2 camera")
    first = page.locator(".card").first
    await expect(first.locator("h3")).to_have_text(NAME)
    await page.get_by_label("1 giờ", exact=True).check()
    await expect(first.locator(".runs i.recorded").first).to_be_attached()
    await expect(first.locator(".runs i.gap").first).to_be_attached()
    await expect(first.locator(".stamp")).to_have_text(local(100)[1])
    await first.get_by_role("button", name=NAME, exact=True).click()
    await plays(page)
    await page.keyboard.press("k")
    await ask(page, "lien nghia", 100)
    await rests_at(page, START_US + 100 * S)
    number, _ = await shown_frame(page)
    assert number == number_at(START_US + 100 * S)


async def test_words_for_day_and_time_are_accepted(visit: Open):
    page = await visit()
    await page.fill("#place", "Liên Nghĩa, hôm qua 21h40")
    await page.press("#place", "Enter")
    await expect(page.locator("#place")).to_have_value("Liên Nghĩa")
    await expect(page.locator("#time")).to_have_value("21:40")
    yesterday = datetime.now(ZONE).toordinal() - 1
    await expect(page.locator("#date")).to_have_value(datetime.fromordinal(yesterday).strftime("%d/%m/%Y"))


async def test_a_click_on_the_bar_plays_from_there(visit: Open):
    page = await visit(f"#at={at(60)}&cameras={CROSSROADS}&span=600")
    await plays(page)
    await page.keyboard.press("k")
    bar = page.locator(".tile .bar")
    box = await bar.bounding_box()
    assert box
    window = await page.evaluate(
        "async ([us, zone]) => (await import('/page/time.js')).windowOf(us, 600e6, zone)", [START_US + 60 * S, ZONE.key]
    )
    share = (START_US + 120 * S - window["from"]) / 600e6
    if 0 < share < 1:  # within the ten minutes of the bar
        await bar.click(position={"x": box["width"] * share, "y": 8})
    else:
        await bar.click(position={"x": box["width"] * (share - 0.1), "y": 8})
    await page.wait_for_timeout(300)
    value = await bar.get_attribute("aria-valuenow")
    assert value
    await rests(page)
    number, shown_us = await shown_frame(page)
    assert abs(shown_us - window["from"] - int(value) * S) <= S
    assert number == number_at(shown_us)


async def test_step_buttons_move_exactly_by_their_label(visit: Open):
    page = await visit(f"#at={at(100)}&cameras={MARKET}")
    await plays(page)
    await page.keyboard.press("k")
    await ask(page, "", 100)
    await page.locator("#count").click()
    want = START_US + 100 * S
    for key, by_us in (
        ("l", 10 * S), ("ArrowRight", S), (".", FRAME_US), (".", FRAME_US), (",", -FRAME_US), ("j", -10 * S),
        ("ArrowLeft", -S),
    ):  # fmt: skip
        await page.keyboard.press(key)
        want += by_us
        await rests_at(page, want)
        number, _ = await shown_frame(page)
        assert number == number_at(want), key


async def test_two_cameras_play_in_sync(visit: Open):
    """Within 200 ms by their pixels, during playback, after a seek, and at another speed."""
    page = await visit(f"#at={at(20)}&cameras={CROSSROADS},{MARKET}")
    await plays(page, 0)
    await plays(page, 1)
    for keys in ("", "l", ">"):
        for key in keys:
            await page.keyboard.press(key)
        await page.wait_for_timeout(900)
        apart: list[int] = []
        for _ in range(6):
            (one, _), (other, _) = await shown_frames(page)
            apart.append(abs(one - other))
            await page.wait_for_timeout(100)
        moved = await page.evaluate("[...document.querySelectorAll('video')].map((v) => !v.paused)")
        assert moved == [True, True]
        assert max(apart) * FRAME_US <= 200_000, apart


async def test_nearest_cameras_are_listed_first(visit: Open):
    """Near another camera, and near the user."""
    page = await visit(geolocation={"latitude": 11.6461, "longitude": 108.3089}, permissions=["geolocation"])
    await page.get_by_role("button", name=f"Camera gần đây: {NAME}").click()
    await expect(page.locator("#sorted")).to_have_text(f"gần {NAME} trước")
    names = page.locator(".card h3")
    await expect(names).to_have_text([NAME, "Cổng chợ Tùng Nghĩa", "Bến xe Đức Trọng", "Cầu Đại Ninh"])
    await expect(page.locator(".card").nth(1)).to_contain_text("590 m")
    await page.click("#nearMe")
    await expect(page.locator("#sorted")).to_have_text("gần vị trí của tôi trước")
    await expect(names.first).to_have_text("Cầu Đại Ninh")
    await page.click("#forget")
    await expect(names.first).to_have_text("Bến xe Đức Trọng")


# ---- gaps


async def test_a_gap_is_shown_over_the_picture_and_on_the_bar_and_skipped(visit: Open):
    page = await visit(f"#at={at(150)}&cameras={CROSSROADS},{MARKET}&span=600")
    await plays(page)
    await page.keyboard.press("k")
    await page.keyboard.press("]")
    veil = page.locator(".tile .veil").first
    bounds = f"{local(GAP_S[0])[1]}–{local(GAP_S[1])[1]} (20 giây)"
    await expect(veil).to_contain_text(f"Mất hình: camera ngừng gửi hình · {bounds}")
    await expect(page.locator(".tile .veil").nth(1)).to_be_hidden()  # the other one keeps playing
    slider = page.locator(".tile .bar").first
    assert bounds in (await slider.get_attribute("aria-valuetext") or "")
    gap = page.locator(".tile").first.locator(".runs i.gap")
    for n in range(await gap.count()):
        await gap.nth(n).hover(force=True)
        if bounds in (await page.locator("#tip").inner_text()):
            break
    await expect(page.locator("#tip")).to_contain_text("camera ngừng gửi hình")
    await veil.get_by_role("button").click()
    await rests_at(page, START_US + GAP_S[1] * S)
    number, _ = await shown_frame(page)
    assert number == number_at(START_US + GAP_S[1] * S)


async def test_playing_continues_after_a_gap(visit: Open):
    page = await visit(f"#at={at(GAP_S[1] - 2)}&cameras={CROSSROADS}")
    await expect(page.locator(".veil")).to_contain_text("Mất hình")
    await expect(page.locator(".veil")).to_be_hidden()
    await page.wait_for_function(
        "() => document.querySelector('video').currentTime > 0 && !document.querySelector('video').paused"
    )
    await page.wait_for_timeout(300)
    number, shown_us = await shown_frame(page)
    assert shown_us >= START_US + GAP_S[1] * S
    assert abs(number - number_at(shown_us)) <= 2  # it plays


# ---- downloads


async def test_the_selected_range_and_a_snapshot_are_downloaded(visit: Open, tmp_path: Path):
    page = await visit(f"#at={at(40)}&cameras={MARKET}")
    await plays(page)
    await page.keyboard.press("k")
    await ask(page, "", 40)
    await page.locator("#count").click()
    await page.keyboard.press("i")
    await page.keyboard.press("l")
    await page.keyboard.press("o")
    await expect(page.locator("#length")).to_have_text("10 giây")
    async with page.expect_download() as clip:
        await page.get_by_role("button", name="Tải đoạn hình: Cổng chợ Tùng Nghĩa").click()
    file = await clip.value
    assert file.suggested_filename.startswith(MARKET)
    await file.save_as(tmp_path / "clip.mp4")
    pictures = bitstream.parse_stored_pictures((tmp_path / "clip.mp4").read_bytes())
    assert [one.number for one in pictures] == list(range(40 * FPS, 50 * FPS))
    async with page.expect_download() as still:
        await page.keyboard.press("s")
    await (await still.value).save_as(tmp_path / "still.jpg")
    assert (tmp_path / "still.jpg").read_bytes().startswith(b"\xff\xd8")


async def test_a_range_without_footage_shows_why_and_downloads_nothing(visit: Open):
    page = await visit(f"#at={at(185)}&from={at(182)}&to={at(190)}&cameras={CROSSROADS}")
    await expect(page.locator(".veil")).to_contain_text("Mất hình")
    began: list[object] = []
    page.on("download", lambda file: began.append(file))  # noqa: PLW0108  # Playwright sets attributes on the handler
    await page.keyboard.press("d")
    await expect(page.locator("#said")).to_have_text("Không có hình nào trong khoảng này.")
    assert began == []


async def test_an_unplayable_codec_is_shown_and_can_be_downloaded(visit: Open, tmp_path: Path):
    page = await visit(f"#at={at(40)}&from={at(40)}&to={at(44)}&cameras={HEVC}")
    await expect(page.locator(".veil")).to_contain_text("Trình duyệt này không phát được H.265")
    async with page.expect_download() as clip:
        await page.keyboard.press("d")
    await (await clip.value).save_as(tmp_path / "clip.mp4")
    numbers = [p.number for p in bitstream.parse_stored_pictures((tmp_path / "clip.mp4").read_bytes())]
    assert numbers == list(range(40 * FPS, 44 * FPS))


# ---- login


async def test_without_a_key_nothing_is_shown(visit: Open, world: PageSite):
    page = await visit(f"#at={at(60)}&cameras={CROSSROADS}", url=world.keyed_api.url)
    await expect(page.locator("#login")).to_be_visible()
    await expect(page.locator("#key")).to_be_focused()
    assert await page.locator(".card").count() == 0
    await page.keyboard.press("Escape")
    await expect(page.locator("#login")).to_be_visible()
    await page.keyboard.type("dc_00000000_no")
    await page.keyboard.press("Enter")
    await expect(page.locator("#loginWrong")).to_have_text("Mã truy cập không đúng.")
    await page.keyboard.type(world.key)
    await page.keyboard.press("Enter")
    await expect(page.locator("#login")).to_be_hidden()
    await plays(page)
    assert await page.locator(".card").count() == 4
    await page.get_by_role("button", name="Đăng xuất").click()
    await expect(page.locator("#login")).to_be_visible()
    assert await page.locator(".card").count() == 0
    key = await page.evaluate("JSON.stringify([location.href, {...localStorage}, document.cookie])")
    assert world.key not in key


async def test_an_expired_login_asks_for_the_key_again(visit: Open, world: PageSite):
    page = await visit(url=world.keyed_api.url)
    await page.fill("#key", world.key)
    await page.press("#key", "Enter")
    await expect(page.locator("#count")).to_have_text("4 camera")
    await page.context.clear_cookies()
    await page.press("#place", "Enter")
    await expect(page.locator("#login")).to_be_visible()
    await page.fill("#key", world.key)
    await page.press("#key", "Enter")
    await expect(page.locator("#login")).to_be_hidden()


async def test_too_many_wrong_keys_show_the_waiting_time(visit: Open, world: PageSite):
    page = await visit(url=world.keyed_api.url)
    for _ in range(14):
        await page.fill("#key", "dc_00000000_wrong")
        async with page.expect_response("**/v1/login") as answer:
            await page.press("#key", "Enter")
        if (await answer.value).status == 429:
            break
    await expect(page.locator("#loginWrong")).to_have_text(re.compile(r"Hãy đợi \d+ giây"))


async def test_on_loopback_without_keys_no_login_is_asked_for(visit: Open):
    page = await visit()
    await expect(page.locator("#count")).to_have_text("4 camera")
    await expect(page.locator("#login")).to_be_hidden()
    await expect(page.locator("#logout")).to_be_hidden()


# ---- accessibility


async def test_the_page_works_by_keyboard_only(visit: Open):
    """Search, open, step on the bar, show the list of keys; the focus is always visible."""
    page = await visit()
    await expect(page.locator("#count")).to_have_text("4 camera")
    await page.keyboard.press("/")
    await expect(page.locator("#place")).to_be_focused()
    date, time = local(100)
    await page.keyboard.type(f"lien nghia {date} {time}")
    await page.keyboard.press("Enter")
    await expect(page.locator("#count")).to_have_text("2 camera")
    for _ in range(14):
        await page.keyboard.press("Tab")
        focused = await page.evaluate("document.activeElement.textContent")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", focused
        if focused == NAME:
            break
    await page.keyboard.press("Enter")
    await plays(page)
    await page.keyboard.press("k")
    slider = page.locator(".tile .bar")
    await slider.focus()
    before = int(await slider.get_attribute("aria-valuenow") or 0)
    await page.keyboard.press("ArrowRight")
    assert int(await slider.get_attribute("aria-valuenow") or 0) == before + 60
    await expect(page.locator("#tip")).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()


@pytest.mark.parametrize("query", ["", f"#at={at(60)}&cameras={CROSSROADS},{MARKET}"], ids=["empty", "playing"])
async def test_a_phone_needs_no_horizontal_scrolling(visit: Open, query: str):
    page = await visit(query, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    await expect(page.locator("#count")).to_have_text("4 camera")
    if query:
        await plays(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    outside = "[...document.querySelectorAll('#question *, #cards *, #viewer *')].filter((e) => e.checkVisibility()"
    outside += " && !e.closest('.scale, .runs, .sr') && e.getBoundingClientRect().right > 390.5).map((e) => e.outerHTML.slice(0, 90))"
    assert await page.evaluate(outside) == []
    small = "[...document.querySelectorAll('.moves button')].filter((b) => b.offsetHeight < 40).length"
    if query:
        assert await page.evaluate(small) == 0


UNNAMED = """[...document.querySelectorAll("button, input, select, [role=slider], section, video, dialog, a")]
  .filter((e) => e.checkVisibility() && !e.ariaHidden && !(e.getAttribute("aria-label") || e.textContent.trim()
    || (e.labels && [...e.labels].some((l) => l.textContent.trim())))).map((e) => e.outerHTML.slice(0, 80))"""


async def test_controls_have_accessible_names_and_texts_both_languages(visit: Open):
    page = await visit(f"#at={at(60)}&cameras={CROSSROADS}")
    await plays(page)
    for language, other, word in (("vi", "en", "Đoạn hình"), ("en", "vi", "Clip")):
        assert await page.evaluate("document.documentElement.lang") == language
        assert await page.evaluate(UNNAMED) == []
        await expect(page.locator(".tile button.clip")).to_have_text(word)
        assert await page.evaluate("[...document.images].filter((i) => !i.hasAttribute('alt')).length") == 0
        await page.click("#language")
        assert await page.evaluate("document.documentElement.lang") == other
    shown = await page.evaluate("document.body.innerText")
    assert not re.search(r"\b(now|cause|key)\.\w+", shown), "a name of a text that is not in the table"
    await page.reload()
    assert await page.evaluate("document.documentElement.lang") == "vi"


CONTRAST = """() => {
  const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => {
    v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$|transparent/.test(c)) return c; } return "rgb(255,255,255)"; };
  const out = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.disabled || e.closest(".veil, .thumb, option, #tip")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) out.push(`${e.className || e.id || e.tagName} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return out;
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_text_has_contrast_and_the_theme_is_remembered(visit: Open, scheme: str):
    page = await visit(f"#at={at(60)}&cameras={CROSSROADS}", color_scheme=scheme)
    await plays(page)
    assert await page.evaluate("document.documentElement.dataset.theme") == scheme
    assert await page.evaluate(CONTRAST) == []
    await page.click("#theme")
    await page.reload()
    assert await page.evaluate("document.documentElement.dataset.theme") != scheme
    assert await page.evaluate(CONTRAST) == []


async def test_a_shared_link_opens_the_same_instant(visit: Open):
    page = await visit(f"#q=duc+trong&at={at(77)}&cameras={MARKET},{CROSSROADS}&span=3600")
    await plays(page)
    await page.keyboard.press("k")
    await page.wait_for_timeout(300)
    link = page.url
    assert f"cameras={MARKET},{CROSSROADS}" in link
    there = await visit(link[link.index("#") :], locale="en-US")
    await plays(there)
    await there.keyboard.press("k")
    names = await there.locator(".tile h3").all_inner_texts()
    assert names == ["Cổng chợ Tùng Nghĩa", NAME]
    assert await there.input_value("#place") == "duc trong"
    assert await there.evaluate("document.documentElement.lang") == "en"
    await rests(there)
    shown_us = (await shown_frame(there))[1]
    assert 77 * S - FRAME_US <= shown_us - START_US <= 90 * S


# ---- modules without a page


async def test_time_bar_and_clock_agree_with_the_footage(visit: Open):
    page = await visit()
    assert await page.evaluate(Path(__file__).with_name("page_parts.js").read_text()) == []


async def test_the_page_is_served_with_a_strict_csp(world: PageSite):
    async with httpx.AsyncClient(base_url=world.keyed_api.url, timeout=10) as http:
        first = await http.get("/")
        policy = first.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert first.headers["content-type"] == "text/html; charset=utf-8"
        again = await http.get("/", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        names = re.findall(r'(?:src|href)="(/page/[^"]+)"', first.text)
        assert {"/page/main.js", "/page/style.css", "/page/icon.svg"} == set(names)
        for name in names:
            assert (await http.get(name)).status_code == 200
        for name in ("/page/__init__.py", "/page/..%2f__init__.py", "/page/nothing.js"):
            assert (await http.get(name)).status_code == 404
        assert "/page" not in (await http.get("/openapi.json", headers={"Authorization": f"Bearer {world.key}"})).text
