"""`python -m screenshots FOLDER`: the operator's page on a running demo, as PNGs for the documents."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from playwright.async_api import Browser, Page
from pydantic import SecretStr

from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit.demo.latency import now_us
from districam_devkit.demo.runner import DemoEnvironment, DemoOptions, start_demo
from districam_devkit.demo.screen import Screen
from support.api_process import api_running
from support.chromium_page import chromium

HOME = Path(".devkit/screenshots")
MOST_BYTES = 150_000
COLOURS = (256, 128, 64, 32)
S = 1_000_000
FIRST_SEGMENT_S = 90
SILENT = "cam-002"
FAULT = f"silence:{SILENT}@70+20"
FILMED_S = 150
"""Time from the first footage of all cameras to the screenshots: by then one has had a gap with a final cause."""
WIDE = {"width": 1280, "height": 800}
SMALL = {"width": 1080, "height": 700}  # real footage makes the largest files
PHONE = {"width": 390, "height": 844}
LANGUAGES = {"vi": "vi-VN", "en": "en-GB"}


async def main(folder: Path) -> None:
    """Runs the demo, in which a camera falls silent, and takes every screenshot in both languages."""
    screen = Screen()
    folder.mkdir(parents=True, exist_ok=True)
    async with start_demo(DemoOptions(HOME, None, None, None, None, "auto", (FAULT,)), screen) as scene:
        await _footage(scene)
        screen.step(f"filming for {FILMED_S} s")
        await asyncio.sleep(FILMED_S)
        gap_us = await _gap_us(scene)
        async with chromium() as browser:
            for language, locale in LANGUAGES.items():
                await _all(browser, scene, Shots(folder, language, locale), gap_us)
    screen.step(f"pictures are in {folder}")


async def _footage(scene: DemoEnvironment) -> None:
    """Waits for the first stored segment.

    Raises:
        TimeoutError: there is none.
    """
    async with asyncio.timeout(FIRST_SEGMENT_S):
        while True:
            with contextlib.suppress(httpx.HTTPError):
                streams = await scene.api.streams()
                if streams and all(row["last_segment_end"] for row in streams):
                    return
            await asyncio.sleep(0.5)


async def _gap_us(scene: DemoEnvironment) -> int:
    """Start of the silent camera's gap."""
    states = await scene.api.timeline(SILENT, scene.began_us, now_us())
    return next(state.from_us for state in states if state.cause == "source_silent")


class Shots:
    """Folder of the screenshots and language of the page."""

    def __init__(self, folder: Path, language: str, locale: str) -> None:
        self._folder = folder
        self._language = language
        self.locale = locale

    async def take(self, page: Page, name: str) -> None:
        with TemporaryDirectory() as scratch:
            raw = Path(scratch) / "raw.png"
            await page.screenshot(path=raw)
            await asyncio.to_thread(_reduce, raw, self._folder / f"{name}.{self._language}.png")


def _reduce(raw: Path, target: Path) -> None:
    """Reduces the PNG to a palette with as many colours as the size limit allows.

    Raises:
        ValueError: it stays too large.
    """
    for colours in COLOURS:
        reducing = (
            f"split[a][b];[a]palettegen=max_colors={colours}:reserve_transparent=0[p];[b][p]paletteuse=dither=none"
        )
        words = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(raw), "-vf", reducing, str(target)]
        subprocess.run(words, check=True, timeout=60)
        if target.stat().st_size <= MOST_BYTES:
            return
    raise ValueError(f"{target} has {target.stat().st_size} bytes, more than {MOST_BYTES}")


async def _all(browser: Browser, scene: DemoEnvironment, shots: Shots, gap_us: int) -> None:
    url = scene.pipeline.api_url
    before, inside = format_rfc3339(gap_us - 30 * S), format_rfc3339(gap_us + 3 * S)
    both = "cameras=cam-001,cam-002&span=600"

    async def shot(name: str, hash_: str, act: Callable[[Page], Awaitable[None]] = _watch, **context: object) -> None:
        async with _page(browser, f"{url}/#{hash_}", shots.locale, context) as page:
            await act(page)
            await shots.take(page, name)

    await shot("search", f"q=lien+nghia&at={before}&span=600", _look, color_scheme="light")
    await shot("player", f"q=lien+nghia&at={before}&cameras=cam-001&span=600", color_scheme="light", viewport=SMALL)
    await shot("side-by-side", f"at={inside}&{both}", _hover, color_scheme="dark")
    await shot("phone", f"at={before}&cameras=cam-001&span=600", _scroll, color_scheme="dark", viewport=PHONE)
    async with _locked(scene) as locked, _page(browser, locked, shots.locale, {"color_scheme": "dark"}) as page:
        await page.fill("#key", "dc_00000000_wrong")
        await page.press("#key", "Enter")
        await page.wait_for_function("() => document.getElementById('loginWrong').textContent")
        await shots.take(page, "login")


@asynccontextmanager
async def _page(browser: Browser, url: str, locale: str, context: Mapping[str, object]):
    settings = {"viewport": WIDE, "locale": locale, **context}
    opened = await browser.new_context(**settings)  # pyright: ignore[reportArgumentType]
    try:
        page = await opened.new_page()
        await page.goto(url)
        yield page
    finally:
        await opened.close()


@asynccontextmanager
async def _locked(scene: DemoEnvironment):
    """Yields the address of a second api on the same servers that requires a key."""
    s3, redis = scene.servers.s3, scene.servers.redis
    settings = S3Settings(endpoint=s3.url, access_key=s3.access_key, secret_key=SecretStr(s3.secret_key))
    keys = HOME.absolute() / "keys.json"
    keys.write_text('{"keys": []}')
    async with AsyncExitStack() as stack:
        log = HOME / "locked.log"
        yield (await stack.enter_async_context(api_running(settings, redis.url, log, keys_file=keys))).url


async def _look(page: Page) -> None:
    await page.wait_for_selector(".card .runs i.recorded", state="attached")  # of ten minutes
    await page.wait_for_timeout(2500)


async def _watch(page: Page) -> None:
    await page.wait_for_function("() => (document.querySelector('video')?.readyState ?? 0) >= 3")
    await page.wait_for_timeout(2500)
    await page.keyboard.press("i")
    await page.keyboard.press("l")
    await page.keyboard.press("o")
    await page.wait_for_timeout(1500)


async def _hover(page: Page) -> None:
    await page.wait_for_selector(".veil.gap")
    await page.wait_for_timeout(1500)
    gap = await page.locator(".tile").nth(1).locator(".runs i.gap").last.bounding_box()
    assert gap
    await page.mouse.move(gap["x"] + gap["width"] / 2, gap["y"] + gap["height"] / 2)
    await page.wait_for_timeout(200)


async def _scroll(page: Page) -> None:
    await _watch(page)
    await page.evaluate("document.getElementById('viewer').scrollIntoView()")
    await page.wait_for_timeout(300)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
