"""Loaded by Python at start-up if PYTHONPATH names this folder: districam with the next index schema version.

Only the version number differs; keys and consumer group are derived from it.
"""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType

NAME = "districam_common.contract.names"
OUR_SCHEMA, NEWER_SCHEMA = b'\nSCHEMA = "1"\n', b'\nSCHEMA = "2"\n'


class _Newer(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.get_filename(fullname))
        if source.count(OUR_SCHEMA) != 1:
            raise ImportError(f"{fullname} no longer defines its schema in the expected way")
        return compile(source.replace(OUR_SCHEMA, NEWER_SCHEMA), self.get_filename(fullname), "exec")


_found = importlib.util.find_spec(NAME)
if _found is None or _found.origin is None:
    raise ImportError(f"there is no {NAME}")
_spec = importlib.util.spec_from_file_location(NAME, _found.origin, loader=_Newer(NAME, _found.origin))
if _spec is None or _spec.loader is None:
    raise ImportError(f"{NAME} cannot be loaded")
_module = importlib.util.module_from_spec(_spec)
sys.modules[NAME] = _module
_spec.loader.exec_module(_module)
