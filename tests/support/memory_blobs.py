"""An in-memory bucket for unit tests. It passes the same test suite as the real one: integration/test_blobs.py."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from districam_common.errors import Rejected, Retriable
from districam_common.s3.blobs import Blobs, ObjectExists, ObjectInfo, ObjectNotFound
from districam_common.s3.s3_listing import ObjectVersion


@dataclass
class MemoryBlobs(Blobs):
    """A bucket without versions and locks. Unsupported methods raise.

    Attributes:
        objects: body and metadata by key; tests may change it as another client would.
    """

    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict[str, tuple[bytes, dict[str, str]]])
    _bucket: str = "memory"
    _endpoint: str = "memory"

    def put_directly(self, key: str, body: bytes) -> None:
        """Puts an object as another client."""
        self.objects[key] = (body, {})

    async def put(
        self,
        key: str,
        parts: Sequence[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, str],
        sha256: str,
        once: bool,
        locked_until_us: int | None = None,
    ) -> None:
        body = b"".join(parts)
        if not all(value.isascii() for value in (content_type, *metadata.values())):
            raise Rejected(f"putting {key}: metadata must be ASCII")
        if once and key in self.objects:
            raise ObjectExists(key)
        if hashlib.sha256(body).hexdigest() != sha256:
            raise Retriable(f"putting {key}: BadDigest")
        self.objects[key] = (body, dict(metadata))

    async def head(self, key: str) -> ObjectInfo | None:
        if key not in self.objects:
            return None
        body, metadata = self.objects[key]
        return ObjectInfo(len(body), metadata)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        if key not in self.objects:
            raise ObjectNotFound(key)
        body, _ = self.objects[key]
        return body[start : None if length is None else start + length]

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectVersion]:
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > start_after:
                yield ObjectVersion(key, None, len(self.objects[key][0]), is_delete_marker=False, is_latest=True)

    async def delete(self, keys: Iterable[str]) -> tuple[str, ...]:
        for key in keys:
            self.objects.pop(key, None)
        return ()
