"""Chromium on the operator's page: its errors and requests, and the frame number shown by a video's pixels."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from districam_devkit.simcam.drawing import glyphs

EXECUTABLE = "/usr/bin/chromium"
DIGITS = {digit: glyphs(digit)[:, :5] > 100 for digit in "0123456789"}
_GRAB = """() => {
  const drawn = [...document.querySelectorAll("video")].map((video) => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const drawing = canvas.getContext("2d");
    drawing.drawImage(video, 0, 0);
    return [canvas, drawing, Number(video.dataset.base) + Math.round(video.currentTime * 1e6)];
  });
  return drawn.map(([{width, height}, drawing, shown]) => {
    const pixels = drawing.getImageData(0, 0, width / 3, height / 2).data;
    return [Math.floor(width / 3), shown, Array.from({length: pixels.length / 4}, (_, i) => pixels[i * 4 + 1])];
  });
}"""
_PAINTED_S = 10
_SCALE, _CHARACTERS = 3, 5
"""Size of the digits in a picture of 320 × 180 whose longest line has five characters."""


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-gpu"], timeout=30_000
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class PageLog:
    """A page's errors and requests. It has no slots because Playwright sets attributes on it."""

    problems: list[str] = field(default_factory=list[str])
    requested_urls: list[str] = field(default_factory=list[str])

    def attach(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.text} ({message.location['url']})")

    def _request(self, request: Request) -> None:
        self.requested_urls.append(request.url)


async def shown_frame(page: Page) -> tuple[int, int]:
    """`shown_frames` of the first video."""
    return (await shown_frames(page))[0]


async def shown_frames(page: Page) -> list[tuple[int, int]]:
    """For each video at one moment: the frame number read from its pixels, and the instant that the page displays.

    A video may paint its first frame later than it reports it: a black frame is read again.
    """
    async with asyncio.timeout(_PAINTED_S):
        while True:
            grabbed = cast("list[tuple[int, int, list[int]]]", await page.evaluate(_GRAB))
            if all(any(luma) for _, _, luma in grabbed):
                break
            await asyncio.sleep(0.05)
    return [(_number(np.array(luma, np.uint8).reshape(-1, width)), shown_us) for width, shown_us, luma in grabbed]


def _number(picture: Any) -> int:
    """Reads the second line of digits: 9 dots below the first, each character 6 dots wide."""
    top, found = _SCALE * 10, ""
    for column in range(_CHARACTERS):
        left = _SCALE * (1 + 6 * column)
        cell = picture[top : top + 7 * _SCALE, left : left + 5 * _SCALE]
        dots = cell.reshape(7, _SCALE, 5, _SCALE).mean((1, 3)) > 110
        wrong = {digit: int((dots != shape).sum()) for digit, shape in DIGITS.items()}
        best = min(wrong, key=lambda digit: wrong[digit])
        assert wrong[best] <= 3, f"no digit in column {column}: {wrong}"
        found += best
    return int(found)
