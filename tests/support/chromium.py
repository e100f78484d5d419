"""Plays URLs in headless Chromium's plain <video> and returns the elements' properties."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Sequence
from typing import Any

import httpx

PAGE = """<!doctype html><meta charset="utf-8"><script>
const played = (url) => new Promise((done) => {
  const video = document.createElement("video");
  const end = (extra) => done({width: video.videoWidth, duration_s: video.duration, at_s: video.currentTime,
    frames: video.getVideoPlaybackQuality().totalVideoFrames, ended: video.ended, ...extra});
  video.muted = video.autoplay = true;
  video.width = 160;
  video.onended = () => end({});
  video.onerror = () => end({error: video.error.message});
  video.onloadedmetadata = () => { video.playbackRate = 4; };
  setTimeout(() => end({error: "not ended in time"}), 50000);
  video.src = url;
  document.body.append(video);
});
onload = async () => {
  const found = await Promise.all(PATHS_TO_PLAY.map(played));
  fetch("/", {method: "POST", body: JSON.stringify(found)});
};
</script><body></body>"""
PASSED_HEADERS = ("content-type", "content-range", "accept-ranges")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


async def play_in_chromium(browser: str, urls: Sequence[str], *, timeout_s: float = 60) -> list[dict[str, Any]]:
    """Plays the URLs, all of one server, concurrently; returns each element's properties at the end of playback.

    These are `ended`, `width`, `duration_s`, `frames` (decoded, shown or not), and `error` if there is one.
    The page has the media's origin, like the operator's page: a proxy forwards everything else.
    """
    results: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
    targets = [httpx.URL(url) for url in urls]
    async with httpx.AsyncClient(base_url=targets[0].join("/"), timeout=20) as upstream:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                writer.write(await answer(request, reader))
                await writer.drain()
            writer.close()

        async def answer(request: str, reader: asyncio.StreamReader) -> bytes:
            method, path, _ = request.split(" ", 2)
            fields = dict(line.lower().split(": ", 1) for line in request.splitlines()[1:] if ": " in line)
            if method == "POST":
                answer = json.loads(await reader.readexactly(int(fields["content-length"])))
                if not results.done():
                    results.set_result(answer)
                return _answer(200, {}, b"")
            if path == "/":
                paths = json.dumps([target.raw_path.decode() for target in targets])
                page = PAGE.replace("PATHS_TO_PLAY", paths)
                return _answer(200, {"content-type": "text/html"}, page.encode())
            wanted = {"range": fields["range"]} if "range" in fields else {}
            found = await upstream.get(path, headers=wanted)
            kept = {name: found.headers[name] for name in PASSED_HEADERS if name in found.headers}
            return _answer(found.status_code, kept, found.content)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            return await _run_browser(browser, server.sockets[0].getsockname()[1], results, timeout_s)
        finally:
            server.close()


def _answer(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


async def _run_browser(
    browser: str, port: int, results: asyncio.Future[list[dict[str, Any]]], timeout_s: float
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(browser, *FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{port}/"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await results
        finally:
            process.terminate()
            await process.wait()
