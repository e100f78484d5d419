"""A certificate that a camera made itself, for `rtsps`; made anew by openssl for each simulation."""

import ssl
import subprocess
from pathlib import Path

_MAKING_S = 30


def create_self_signed(folder: Path, host: str) -> Path:
    """Writes `camera.crt` and `camera.key`; gives the former. Blocks. Raises OSError without openssl."""
    certificate, key = folder / "camera.crt", folder / "camera.key"
    words = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-days", "3650", "-subj", "/CN=camera", "-addext", f"subjectAltName=IP:{host}")
    files = ("-keyout", str(key), "-out", str(certificate))
    made = subprocess.run([*words, *names, *files], check=False, capture_output=True, timeout=_MAKING_S)
    if made.returncode:
        raise OSError(0, f"openssl makes no certificate: {made.stderr.decode(errors='replace')}")
    return certificate


def context(certificate: Path) -> ssl.SSLContext:
    """The server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context
