"""Queries and parses pages of a bucket's listing (ListObjectsV2, ListObjectVersions).

minio-py's own parser requires dates in known formats and raises for others (VersityGW writes nanoseconds in delete
markers). This one reads only what is used: keys, sizes, versions, common prefixes, continuation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

MAX_PAGE_ENTRIES = 1000
"""Maximum entries of a page in S3."""
ListingKind = Literal["objects", "versions"]


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object, or a delete marker."""

    key: str
    version_id: str | None
    size: int
    is_delete_marker: bool
    is_latest: bool


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page, in the order of the response. `next_query`: the query for the next page; None after the last."""

    entries: list[ObjectVersion] = field(default_factory=list[ObjectVersion])
    common_prefixes: list[str] = field(default_factory=list[str])
    next_query: Mapping[str, str] | None = None


def first_query(
    kind: ListingKind, prefix: str, *, start_after: str = "", delimiter: str = "", size: int = MAX_PAGE_ENTRIES
) -> dict[str, str]:
    """The query for the first page, of at most `size` entries."""
    query = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(size), "encoding-type": "url"}
    if kind == "versions":
        return query | {"versions": ""} | ({"key-marker": start_after} if start_after else {})
    return query | {"list-type": "2"} | ({"start-after": start_after} if start_after else {})


def parse_page(body: bytes, query: Mapping[str, str]) -> ListingPage:
    """Parses the response to `query`.

    Raises:
        ValueError: not a listing, or one whose next query is the same again.
    """
    root = _root(body)
    is_encoded = _text(root, "EncodingType").lower() == "url"
    page = ListingPage()
    for element in root:
        match _name(element):
            case "Contents" | "Version" | "DeleteMarker":
                page.entries.append(_entry(element, is_encoded=is_encoded))
            case "CommonPrefixes":
                page.common_prefixes.append(_decoded(_text(element, "Prefix"), is_encoded=is_encoded))
            case _:
                pass
    if _text(root, "IsTruncated").lower() != "true":
        return page
    following = _following(root, query, page, is_encoded=is_encoded)
    if following == dict(query):
        raise ValueError("the listing continues where it began")
    return ListingPage(page.entries, page.common_prefixes, following)


def _root(body: bytes) -> ET.Element:
    try:
        root = ET.fromstring(body)  # noqa: S314  # the store is trusted; expat limits entity expansion
    except ET.ParseError as error:
        raise ValueError(f"not XML ({error})") from error
    if _name(root) not in {"ListBucketResult", "ListVersionsResult"}:
        raise ValueError(f"not a listing: <{_name(root)[:40]}>")
    return root


def _entry(element: ET.Element, *, is_encoded: bool) -> ObjectVersion:
    key = _decoded(_text(element, "Key"), is_encoded=is_encoded)
    if not key:
        raise ValueError("the listing has an entry without a key")
    is_marker = _name(element) == "DeleteMarker"
    size = _text(element, "Size")
    if not size.isdecimal() and not is_marker:
        raise ValueError("the listing has an object without a size")
    is_latest = _text(element, "IsLatest").lower() == "true"
    return ObjectVersion(key, _text(element, "VersionId") or None, int(size or 0), is_marker, is_latest)


def _following(root: ET.Element, query: Mapping[str, str], page: ListingPage, *, is_encoded: bool) -> dict[str, str]:
    """The query for the next page: from the response's marker or token, else after its last entry."""
    last = max([one.key for one in page.entries[-1:]] + page.common_prefixes[-1:], default="")
    if "versions" in query:
        marker = _decoded(_text(root, "NextKeyMarker"), is_encoded=is_encoded) or last
        version = _text(root, "NextVersionIdMarker")
        # Without the version, a store would repeat the marker's key, or leave out its other versions.
        by_version = {"version-id-marker": version} if version else {}
        rest = {name: value for name, value in query.items() if name != "version-id-marker"}
        following = rest | {"key-marker": marker} | by_version
    elif token := _text(root, "NextContinuationToken"):
        following = {**query, "continuation-token": token}
    else:
        following = {**query, "start-after": last}
    return following


def _name(element: ET.Element) -> str:
    """The element's name without namespace."""
    return element.tag.rpartition("}")[2]


def _text(element: ET.Element, name: str) -> str:
    return next((child.text or "" for child in element if _name(child) == name), "").strip()


def _decoded(text: str, *, is_encoded: bool) -> str:
    return unquote_plus(text) if is_encoded else text
