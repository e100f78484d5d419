"""Generates `districam_common/runtime/known_variables.py`, the variables of all programs: `make settings`.

`districam_common` needs them but must not import services, so the list is generated.
"""

from pathlib import Path

import districam_common
from districam_client.settings import VARIABLES
from districam_common.runtime.settings import variable_names
from support.manifests import SETTINGS

FILE = Path(districam_common.__file__).parent / "runtime" / "known_variables.py"
_HEAD = '''"""The variables of all programs, services and commands. Generated from their settings by `make settings`; not to be edited."""

from typing import Final

KNOWN_VARIABLES: Final = frozenset(
    {
'''


def content() -> str:
    """Returns the file's content."""
    names = {name for kind in SETTINGS.values() for name in variable_names(kind)} | set(VARIABLES.values())
    return _HEAD + "".join(f'        "{name}",\n' for name in sorted(names)) + "    }\n)\n"


if __name__ == "__main__":
    FILE.write_text(content())
    print(FILE.name)
