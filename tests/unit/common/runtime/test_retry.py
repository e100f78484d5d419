import pytest

from districam_common.errors import Rejected, Retriable
from districam_common.runtime.retry import retry


class Server:
    """Unavailable for the first calls."""

    def __init__(self, away: int) -> None:
        self.away, self.calls, self.paused = away, 0, list[float]()

    async def ask(self) -> str:
        self.calls += 1
        if self.calls <= self.away:
            raise Retriable(f"away {self.calls}")
        return "here"

    async def pause(self, _: Retriable, delay_s: float) -> None:
        self.paused.append(delay_s)


async def test_a_call_is_retried_after_each_delay_until_it_succeeds() -> None:
    server = Server(2)
    assert await retry(server.ask, (1, 2, 3), server.pause) == "here"
    assert server.paused == [1, 2]


async def test_the_last_error_is_raised_when_the_delays_are_exhausted() -> None:
    server = Server(9)
    with pytest.raises(Retriable, match="away 3"):
        await retry(server.ask, (0, 0))
    assert server.calls == 3


async def test_rejected_is_not_retried() -> None:
    calls: list[str] = []

    async def refused() -> None:
        calls.append("call")
        raise Rejected("no")

    with pytest.raises(Rejected):
        await retry(refused, (0, 0))
    assert calls == ["call"]
