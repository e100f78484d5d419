"""Grouping a listing of versions by key."""

import pytest

from districam_common.s3.versioned_bucket import ObjectVersion
from districam_indexer.core.versions import DayListing

pytestmark = pytest.mark.correctness


def version(key: str, name: str = "1", *, is_marker: bool = False, is_latest: bool = True) -> ObjectVersion:
    return ObjectVersion(key, name, 0 if is_marker else 7, is_delete_marker=is_marker, is_latest=is_latest)


def test_the_current_object_of_a_key_is_its_latest_version_unless_that_is_a_delete_marker() -> None:
    day = DayListing()
    day.feed([version("b"), version("a", "2"), version("a", "1", is_latest=False)])
    day.feed([version("c", "1", is_latest=False), version("c", "2", is_marker=True)])
    assert day.objects() == [("a", 7), ("b", 7)]


def test_a_key_with_several_versions_or_a_delete_marker_is_an_anomaly_across_pages() -> None:
    day = DayListing()
    day.feed([version("a", "2"), version("fine")])
    day.feed([version("a", "1", is_latest=False), version("gone", "2", is_marker=True)])
    assert day.anomalies() == [("a", 2, 0), ("gone", 0, 1)]


def test_without_a_latest_flag_the_first_listed_version_is_current() -> None:
    day = DayListing()
    day.feed([version("a", "2", is_marker=True, is_latest=False), version("a", "1", is_latest=False)])
    assert day.objects() == []
