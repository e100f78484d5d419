"""Mutants as data: what a rule would look like if it were broken, and the test that must notice.

A catalogue is a TOML file beside this one: `[[mutant]]` tables with the fields of `Mutant`.
"""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

CATALOGUES = Path(__file__).parent
GROUPS = ("unit", "integration")


class StaleError(Exception):
    """The catalogue no longer fits the sources: mend the mutant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One place of one file, changed. Paths are from the root of the tree.

    `old` stands in `file` exactly once; `test` is the id of a test, parameters left out; `why` says what is lost, or
    which lie is told. `group` is `integration` where only real servers can show it.
    """

    name: str
    why: str
    file: str
    old: str
    new: str
    test: str
    group: str = "unit"

    @property
    def member(self) -> str:
        """The workspace member that is changed."""
        return PurePosixPath(self.file).parts[1]

    @property
    def module(self) -> str:
        """The changed module's import name."""
        parts = PurePosixPath(self.file).with_suffix("").parts
        return ".".join(parts[parts.index("src") + 1 :])

    def has_test(self, root: Path) -> bool:
        """Whether its test stands where its id says."""
        path, _, name = self.test.partition("::")
        file = root / path
        return file.is_file() and f"def {name}(" in file.read_text()

    def applied(self, source: str) -> str:
        """The source with the one place changed.

        Raises:
            StaleError: there is no such place, or more than one.
        """
        found = source.count(self.old)
        if found != 1:
            raise StaleError(f"{self.file}: its old text is there {found} times, not once")
        return source.replace(self.old, self.new)


def catalogue() -> list[Mutant]:
    """Every mutant, by file.

    Raises:
        StaleError: a file is not what it should be.
    """
    out: list[Mutant] = []
    for path in sorted(CATALOGUES.glob("*.toml")):
        out += [_mutant(path.name, table) for table in tomllib.loads(path.read_text())["mutant"]]
    return out


def _mutant(where: str, table: dict[str, str]) -> Mutant:
    known = {field.name for field in fields(Mutant)}
    if not set(table) <= known or not known - {"group"} <= set(table):
        raise StaleError(f"{where}: {table.get('name')!r} has other fields than {', '.join(sorted(known))}")
    mutant = Mutant(**table)
    if mutant.group not in GROUPS or mutant.old == mutant.new:
        raise StaleError(f"{where}: {mutant.name!r} is of no known group, or changes nothing")
    return mutant
