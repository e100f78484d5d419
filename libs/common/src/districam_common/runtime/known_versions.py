"""Libraries whose internals this project uses, and the versions that its tests have run with (docs/adr/0018).

Internals may change in any release. Each module that uses them calls `require` at import, so that an untested version
stops the process at its start, not later while it is recording.
"""

from importlib import metadata

KNOWN_VERSIONS = {"aiokafka": ("0.14.0",), "minio": ("7.2.20",)}


class UnknownVersionError(ImportError):
    """The installed version of a library is not in `KNOWN_VERSIONS`."""


def require(package: str) -> None:
    """Raises UnknownVersionError unless the installed version of `package` is in `KNOWN_VERSIONS`."""
    found, known = metadata.version(package), KNOWN_VERSIONS[package]
    if found not in known:
        raise UnknownVersionError(
            f"{package} {found} is installed, and districam uses internals of {package} that are known to work in "
            f"{', '.join(known)} only: install {package}=={known[-1]} (requirements/*.txt pin it), or run the tests with "
            f"{found} and add it to KNOWN_VERSIONS in districam_common/runtime/known_versions.py (docs/adr/0018)",
            name=package,
        )
