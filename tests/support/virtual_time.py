"""An event loop whose clock jumps to the next timer when nothing is ready: waiting takes no real time.

For code that waits with asyncio only. Threads and sockets do not stop the jump, so the code must not wait for
them with a timeout.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

START_US = 1_790_000_000_000_000
"""The wall clock when a loop starts."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Returns what is ready now; if nothing is, advances the clock to the next timer."""
        if timeout is None:  # no timer: only a thread or a signal can continue
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.waited_s += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time()` starts at 1,000 s and advances by jumps only."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return 1000.0 + self._jumping.waited_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise AssertionError(f"{func} is for a thread, which the clock would not wait for")


class VirtualClock:
    """A `districam_common.runtime.clock.Clock` for code in such a loop."""

    def now_us(self) -> int:
        return START_US + self.monotonic_us()

    def monotonic_us(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e6)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorator: runs an asynchronous test in a new `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
