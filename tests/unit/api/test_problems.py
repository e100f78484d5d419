"""Problems (RFC 9457) for failures that a real server cannot be made to produce."""

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from districam_api import problems
from districam_common.contract.wire import WireError


@pytest.mark.parametrize("error", [WireError("Camera.camera_id: a secret"), RuntimeError("a secret"), KeyError(1)])
async def test_an_unexpected_error_is_answered_500_without_details(error: Exception) -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/fails")
    async def fails() -> None:
        raise error

    asking = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api")
    with capture_logs() as logged:
        async with asking as http:
            answer = await http.get("/fails")
    assert (answer.status_code, answer.headers["content-type"]) == (500, problems.CONTENT_TYPE)
    assert answer.json()["detail"] == "internal error; the api's log has its cause"
    assert "secret" not in answer.text
    assert [line["exc_info"] for line in logged if line["event"] == "request failed"] == [error]
