"""/docs: the OpenAPI document as one self-contained HTML page."""

from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{font:600 1rem ui-monospace,monospace;margin:2rem 0 0}td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
    "code{font-family:ui-monospace,monospace}"
)


def page(openapi: dict[str, Any]) -> str:
    """HTML that lists every route, its parameters and its answers."""
    info = openapi["info"]
    routes = "".join(
        _operation(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    title = escape(f"{info['title']} {info['version']}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(info.get('description', ''))} "
        f"OpenAPI document: <a href=/openapi.json>/openapi.json</a>{routes}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join([*_parameters(operation), *_responses(operation)])
    about = escape(operation.get("description", ""))
    return f"<h2>{method.upper()} {escape(path)}</h2><p>{about}<table>{rows}</table>"


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    for one in operation.get("parameters", ()):
        needed = "required" if one.get("required") else "optional"
        about = one.get("description") or one.get("schema", {}).get("description", "")
        yield f"<tr><td><code>{escape(one['name'])}</code><td>{needed}<td>{escape(about)}"


def _responses(operation: dict[str, Any]) -> Iterator[str]:
    for status, one in operation["responses"].items():
        kinds = ", ".join(one.get("content", {}))
        yield f"<tr><td>{escape(status)}<td><code>{escape(kinds)}</code><td>{escape(one.get('description', ''))}"
