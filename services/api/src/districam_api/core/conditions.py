"""Entity tags and conditional requests (RFC 9110 sections 8.8.3 and 13.1)."""

import re

_TAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[\x21\x23-\x7e\x80-\xff]*")')


def is_unchanged(if_none_match: str | None, etag: str | None) -> bool:
    """Whether If-None-Match names `etag` (weak comparison, section 13.1.2): then 304 is the answer."""
    if if_none_match is None or etag is None:
        return False
    return if_none_match.strip() == "*" or any(m["opaque"] == etag for m in _TAG.finditer(if_none_match))


def honours_range(if_range: str | None, etag: str | None) -> bool:
    """Whether Range applies (section 13.1.5): without If-Range, or if that names `etag`.

    The comparison is strong: no weak tag matches, nor does a date, since responses have no Last-Modified.
    """
    return if_range is None or (etag is not None and if_range.strip() == etag)
