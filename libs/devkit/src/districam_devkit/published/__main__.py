"""Writes the published contract: `python -m districam_devkit.published docs/api`."""

import argparse
import json
from pathlib import Path

import yaml

from districam_devkit.published.asyncapi import document
from districam_devkit.published.schemas import PUBLISHED, document_of

_FIRST = "# Generated from the code by `make api-docs`; not to be edited.\n"


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full instead of as YAML anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # signature of the base class
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)  # pyright: ignore[reportUnknownMemberType]  # no stubs


_Dumper.add_representer(str, _represent_text)


def files() -> dict[str, str]:
    """Returns every generated file of docs/api/: name → content."""
    contract = yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    schemas = {
        f"schemas/{name}.json": json.dumps(document_of(kind), indent=2, ensure_ascii=False) + "\n"
        for name, kind in PUBLISHED.items()
    }
    return {"asyncapi.yaml": _FIRST + contract, **schemas}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m districam_devkit.published", description=__doc__)
    parser.add_argument("folder", type=Path, help="output folder: docs/api")
    folder: Path = parser.parse_args().folder
    wanted = files()
    for left in sorted({*folder.glob("schemas/*.json")} - {folder / name for name in wanted}):
        left.unlink()
    for name, content in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    print(f"{len(wanted)} files in {folder}")


if __name__ == "__main__":
    main()
