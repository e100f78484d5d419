"""Entity tags and the conditions of requests that name them (RFC 9110 sections 8.8.3 and 13.1)."""

import re

_TAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[\x21\x23-\x7e\x80-\xff]*")')


def is_unchanged(if_none_match: str | None, etag: str | None) -> bool:
    """Whether the asker has what `etag` stands for (If-None-Match, compared weakly): then it is not sent again."""
    if if_none_match is None or etag is None:
        return False
    return if_none_match.strip() == "*" or any(m["opaque"] == etag for m in _TAG.finditer(if_none_match))


def honours_range(if_range: str | None, etag: str | None) -> bool:
    """Whether Range is to be honoured (section 13.1.5): without If-Range, or if that names the very object.

    It is compared strongly: a weak tag is none, and neither is a date, since no answer of ours has one.
    """
    return if_range is None or (etag is not None and if_range.strip() == etag)
