"""JSON Schemas of the records' JSON values, from the dataclasses that encode and decode them.

They allow additional properties: additions do not raise the version, so readers must ignore unknown ones.
"""

import inspect
import re
from typing import Any

from districam_common.contract.events import Location
from districam_common.contract.wire import JSON_TYPES, type_adapter

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PUBLISHED: dict[str, type[Any]] = {kind.type: kind for kind in JSON_TYPES}
"""`ce_type` → class of the value."""
_NESTED: dict[str, type[Any]] = {"Location": Location}
_ATTRIBUTE = re.compile(r"    (?P<names>[a-z0-9_]+(?:, [a-z0-9_]+)*): (?P<text>.+)")


def summary_of(kind: type[Any]) -> str:
    """Returns the docstring without its `Attributes:` section."""
    return " ".join(_doc(kind).split("\nAttributes:")[0].split())


def attribute_docs(kind: type[Any]) -> dict[str, str]:
    """Returns the descriptions from the docstring's `Attributes:` section by attribute."""
    out: dict[str, str] = {}
    named: list[str] = []
    for line in _doc(kind).partition("\nAttributes:\n")[2].splitlines():
        match = _ATTRIBUTE.fullmatch(line)
        if match is not None:
            named = match["names"].split(", ")
            out |= dict.fromkeys(named, match["text"])
        elif line.strip():
            out |= {name: f"{out[name]} {line.strip()}" for name in named}
    return {name: _sentence(text) for name, text in out.items()}


def _doc(kind: type[Any]) -> str:
    return inspect.getdoc(kind) or ""


def _sentence(text: str) -> str:
    first = text if text.startswith("`") else text[:1].upper() + text[1:]
    return f"{first.rstrip('.')}."


def schema_of(kind: type[Any], *, refs: str = "#/$defs/{model}") -> tuple[Schema, dict[str, Schema]]:
    """Returns the value's schema, and the schemas nested in it, referenced by `refs`."""
    made = type_adapter(kind).json_schema(ref_template=refs)
    nested: dict[str, Schema] = made.pop("$defs", {})
    return _described(made, kind), {name: _described(schema, _NESTED[name]) for name, schema in nested.items()}


def document_of(kind: type[Any]) -> Schema:
    """Returns the schema as a self-contained document."""
    schema, nested = schema_of(kind)
    return {"$schema": DIALECT, **schema, **({"$defs": nested} if nested else {})}


def _described(schema: Schema, kind: type[Any]) -> Schema:
    """Adds the descriptions of the class and of its fields to the schema."""
    words = attribute_docs(kind)
    properties: dict[str, Schema] = schema["properties"]
    return {
        "title": kind.__name__,
        "description": summary_of(kind),
        "type": "object",
        "required": schema.get("required", []),
        "properties": {name: _field(field, words.get(name)) for name, field in properties.items()},
    }


def _field(field: Schema, doc: str | None) -> Schema:
    rest = {name: value for name, value in field.items() if name not in {"title", "description"}}
    description = doc or field.get("description")
    return {**({"description": description} if description else {}), **rest}
