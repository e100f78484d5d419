"""The store check, against a store without most required features."""

from collections.abc import Callable

import pytest

from districam_common.errors import Fatal
from districam_common.runtime.clock import SystemClock
from districam_common.s3.probing import REQUIREMENTS, Outcome, Prober, check_requirement
from support.malformed_store import HTML, S3Request, S3Response, error, serving, xml

pytestmark = [pytest.mark.correctness, pytest.mark.timeout(60)]
ETAG = {"ETag": '"e"'}


class IncompleteStore:
    """A store that supports objects and their metadata, but ignores everything else."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}

    def __call__(self, asked: S3Request) -> S3Response:
        if asked.method == "PUT" and not asked.query:
            metadata = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
            self.objects[asked.key] = (asked.body, metadata)
            return S3Response(200, b"", ETAG)
        if asked.method in ("GET", "HEAD") and asked.key:
            if asked.key not in self.objects:
                return error("NoSuchKey", 404)
            body, metadata = self.objects[asked.key]
            return S3Response(200, body, {**ETAG, **metadata})
        if "versions" in asked.query:
            return error("NotImplemented", 501)
        return xml("<ListBucketResult/>")


async def outcomes(answer: Callable[[S3Request], S3Response]) -> dict[str, Outcome]:
    with serving(answer) as settings:
        async with Prober.begin(settings, SystemClock()) as prober:
            return {demand.name: await check_requirement(prober, demand) for demand in REQUIREMENTS}


async def test_missing_features_of_a_store_are_detected() -> None:
    found = await outcomes(IncompleteStore())
    assert [name for name, outcome in found.items() if outcome.state == "ok"] == [
        "put and get", "metadata", "no lifecycle rules",
    ]  # fmt: skip
    assert "8 succeeded" in found["put once (If-None-Match)"].detail
    assert "3 of 3" in found["delete"].detail
    assert "not the requested range" in found["ranges"].detail
    assert "stored" in found["checksum (SHA-256)"].detail


async def test_a_proxys_html_page_meets_no_requirement_and_raises_nothing() -> None:
    found = await outcomes(lambda _: HTML)
    indispensable = {outcome.state for outcome in found.values() if outcome.requirement.is_required}
    assert indispensable == {"missing"}


async def test_rejected_credentials_are_fatal_in_a_check() -> None:
    with pytest.raises(Fatal):
        await outcomes(lambda _: error("AccessDenied", 403))


async def test_enabled_lifecycle_rules_are_detected() -> None:
    rule = "<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"
    found = await outcomes(lambda asked: xml(rule) if "lifecycle" in asked.query else error("SlowDown", 503))
    assert found["no lifecycle rules"].state == "missing"
    assert "recorded" in found["no lifecycle rules"].requirement.consequence
