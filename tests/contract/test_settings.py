"""One environment may contain the settings of all programs: each reads its own, and rejects only unknown ones."""

import pytest

from districam_client.settings import VARIABLES
from districam_common.runtime.known_variables import KNOWN_VARIABLES
from districam_common.runtime.settings import SettingsBlock, SettingsError, load, variable_names
from support import known_variables
from support.manifests import SETTINGS


def test_known_variables_are_current() -> None:
    assert known_variables.FILE.read_text() == known_variables.content(), "run `make settings`"


def test_known_variables_include_services_commands_and_client() -> None:
    for program in ("INGEST__LINGER_S", "RECORDER__UPLOADS", "INDEXER__BATCH_RECORDS", "API__PORT"):
        assert f"DISTRICAM_{program}" in KNOWN_VARIABLES
    assert {"DISTRICAM_TOPICS__PARTITIONS", *VARIABLES.values()} <= KNOWN_VARIABLES


def test_settings_blocks_have_consistent_names() -> None:
    blocks = {kind.model_fields[name].annotation for kind in SETTINGS.values() for name in kind.model_fields}
    named = [block.__name__ for block in blocks if isinstance(block, type) and issubclass(block, SettingsBlock)]
    assert named
    assert [name for name in named if not name.endswith("Settings")] == []


@pytest.mark.parametrize("program", SETTINGS)
def test_every_program_accepts_the_variables_of_all_others(program: str) -> None:
    kind = SETTINGS[program]
    others = dict.fromkeys(KNOWN_VARIABLES.difference(variable_names(kind)), "of no use here")
    own = {"DISTRICAM_SITE": "district-1"}
    assert others
    assert load(kind, {**others, **own}) == load(kind, own)


@pytest.mark.parametrize("program", SETTINGS)
def test_an_unknown_variable_is_rejected_with_the_closest_of_any_program(program: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(SETTINGS[program], {"DISTRICAM_RECORDER__UPLOAD": "8", "DISTRICAM_CLIENT__URI": "x"})
    assert str(error.value).splitlines() == [
        "DISTRICAM_RECORDER__UPLOAD: no such setting; did you mean DISTRICAM_RECORDER__UPLOADS?",
        "DISTRICAM_CLIENT__URI: no such setting; did you mean DISTRICAM_CLIENT__URL?",
    ]
