"""`districam-api keys`: creates, lists and revokes the keys in `api.keys_file`."""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from districam_api import keyring
from districam_api.core.keys import ID_BYTES, ROLES, SECRET_BYTES, Key, NoSuchKey, create_key, revoke
from districam_api.settings import KeysSettings
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.clock import Clock
from districam_common.runtime.service import EXIT_BAD_SETTINGS
from districam_common.runtime.settings import SettingsError, load, variable_name

EXIT_OK, EXIT_FAILED = 0, 1


def main(arguments: Sequence[str], clock: Clock) -> int:
    """Runs the command. Returns the exit code."""
    args = _parser().parse_args(arguments)
    try:
        file = load(KeysSettings).api.keys_file
    except SettingsError as error:
        print(f"districam-api: {error}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    if file is None:
        name = variable_name("api", "keys_file")
        print(f"districam-api: {name}: is not set; set it to the file that holds the keys", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    try:
        with keyring.exclusive_lock(file):
            _execute(args, file, clock.now_us())
    except (OSError, ValueError, NoSuchKey) as error:
        print(f"districam-api: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="districam-api keys", description="Manages the API keys in DISTRICAM_API__KEYS_FILE."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="creates a key and prints it; it cannot be shown again")
    create.add_argument("--role", required=True, choices=ROLES)
    create.add_argument("--name", required=True, type=_name, help="owner or purpose")
    commands.add_parser("list", help="lists all keys, without their secrets")
    revoke = commands.add_parser("revoke", help="revokes a key")
    revoke.add_argument("id")
    return parser


def _name(text: str) -> str:
    if not text.strip() or len(text) > 200 or not text.isprintable():
        raise argparse.ArgumentTypeError(
            "a name has 1 to 200 printable characters; the audit log and `keys list` show it"
        )
    return text


def _execute(args: argparse.Namespace, file: Path, now_us: int) -> None:
    found = keyring.read(file) if file.exists() else []
    match args.command:
        case "create":
            ids = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
            key, text = create_key(*ids, name=args.name, role=args.role, now_us=now_us)
            keyring.write(file, [*found, key])
            print(f"key {key.id}, role {key.role}; it is shown only once:", file=sys.stderr)
            print(text)
        case "revoke":
            keyring.write(file, revoke(found, args.id, now_us))
            print(f"key {args.id} is revoked")
        case _:
            print("\n".join(map(_line, found)) if found else "no keys")


def _line(key: Key) -> str:
    state = "active" if key.revoked_us is None else f"revoked {format_rfc3339(key.revoked_us)}"
    return f"{key.id}  {key.role:<8}  created {format_rfc3339(key.created_us)}  {state}  {key.name}".rstrip()
