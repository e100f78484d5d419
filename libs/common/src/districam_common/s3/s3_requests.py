"""Signed S3 requests as we write them, for what minio-py's public calls do not offer (docs/adr/0018).

Those are: a put with `If-None-Match` (`put_object` makes user metadata of that header, and overwrites); a page of a listing, with
what a store says in it; the headers of an object without a guess for what is missing; the XML of a bucket's configuration as the
store has sent it. minio-py signs, sends and turns answers of an error into `S3Error`; all that is private is one method.
"""
# The one method of minio-py's that is private:
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
    """Stores the body in one request, with these headers. Gives the answer's ETag, if it has one.

    `if_absent`: only if there is no such key; else the store answers 412, which is an S3Error. Without it, minio-py's public call
    does. That sends more than 5 MiB in parts unless it is told a size: to parts the checksum of the whole does not apply.
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
    """Sends one request, and gives the answer with its body read.

    Raises:
        S3Error: the store refuses it. Else what urllib3 and minio-py raise (`store_answers.OF_THE_STORE`).
    """
    options: dict[str, Any] = {"headers": headers and dict(headers), "query_params": query and dict(query)}
    return client._execute(method, bucket, key, body=body, **options)
