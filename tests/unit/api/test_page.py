"""The page's files: their headers, their completeness, and nothing in them that the policy forbids."""

import re
from importlib import resources

import httpx
import pytest
from fastapi import FastAPI

from districam_api import page

STATIC = resources.files(page).joinpath("static")
FILES = {file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir()}
IMPORT = re.compile(r'^(?:import|\} from|export).*?"\./([a-z0-9]+\.js)"', re.MULTILINE)
EXTERNAL = re.compile(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.-]+\.[a-z]{2,}")
TEXT = re.compile(r'data-t(?:-label|-hint)?="(\w+)"')


async def get(path: str, **headers: str) -> httpx.Response:
    app = FastAPI()
    app.include_router(page.router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
async def test_a_page_file_has_content_type_etag_and_security_policy(path: str, kind: str):
    answer = await get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = await get(path, **{"If-None-Match": f"W/{answer.headers['etag']}"})
    assert (again.status_code, again.content) == (304, b"")
    assert (await get(path, **{"If-None-Match": '"another"'})).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "__init__.py", "..%2f__init__.py", ""])
async def test_other_file_names_are_not_found(name: str):
    assert (await get(f"/page/{name}")).status_code == 404


def test_every_referenced_file_exists():
    assert len(FILES) > 15
    named: set[str] = set(re.findall(r'(?:src|href)="/page/([^"]+)"', FILES["index.html"]))
    for text in FILES.values():
        named |= set(IMPORT.findall(text))
    assert named == set(FILES) - {"index.html"}


def test_the_page_has_no_inline_code_and_no_external_resources():
    html = FILES["index.html"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", html)
    for name, text in FILES.items():
        assert not EXTERNAL.search(text), name
        assert "innerHTML" not in text, f"{name}: what a camera is called would become markup"


def test_every_text_key_used_is_in_the_translation_table():
    table: set[str] = set(re.findall(r'^  "?([\w.]+)"?: \[', FILES["i18n.js"], re.MULTILINE))
    assert len(table) > 100
    named: set[str] = set(TEXT.findall(FILES["index.html"]))
    for name, text in FILES.items():
        if name.endswith(".js"):
            named |= set(re.findall(r'\bt\("([\w.]+)"', text))
    assert named - table == set()
