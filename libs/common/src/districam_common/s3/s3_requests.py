"""Signed S3 requests that minio-py's public API does not offer (docs/adr/0018).

These are: a PUT with `If-None-Match` (`put_object` turns that header into user metadata, and overwrites); raw pages of a
listing; an object's headers without defaults for missing ones; a bucket's configuration as raw XML. minio-py signs, sends
and turns error responses into `S3Error`, by one private method.
"""
# The private method of minio-py:
# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from minio import Minio
from minio.helpers import MIN_PART_SIZE
from urllib3 import BaseHTTPResponse

from districam_common.runtime.known_versions import require

require("minio")


def put(
    client: Minio, bucket: str, key: str, body: bytes, headers: Mapping[str, str], *, if_absent: bool
) -> str | None:
    """Stores the body in one request with these headers. Returns the response's ETag, None if it has none.

    `if_absent`: only if the key does not exist; else the store returns 412, raised as S3Error. Otherwise minio-py's public
    call is used, with a part size: by default it uploads more than 5 MiB in parts, to which the checksum does not apply.
    """
    if if_absent:
        answer = request(client, "PUT", bucket, key, body=body, headers={**headers, "If-None-Match": "*"})
        return answer.headers.get("etag")
    size = len(body)
    options: dict[str, Any] = {"metadata": dict(headers), "part_size": max(size, MIN_PART_SIZE)}
    return client.put_object(bucket, key, BytesIO(body), size, headers["Content-Type"], **options).etag


def request(
    client: Minio,
    method: str,
    bucket: str,
    key: str | None = None,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> BaseHTTPResponse:
    """Sends one request; returns the response with its body read.

    Raises:
        S3Error: the store returned an error. Otherwise the errors of urllib3 and minio-py (`s3_errors.CLIENT_ERRORS`).
    """
    options: dict[str, Any] = {"headers": headers and dict(headers), "query_params": query and dict(query)}
    return client._execute(method, bucket, key, body=body, **options)
