"""An event loop whose clock jumps to the next timer when nothing else is ready: an hour of waiting takes no time.

For code that waits by asyncio alone. A thread or a socket does not stop the jump, so neither may be waited for with a
deadline.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

START_US = 1_790_000_000_000_000
"""The wall clock when a loop begins."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if nothing is, the time until the next timer has passed."""
        if timeout is None:  # no timer at all: only a thread or a signal can go on
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.waited_s += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 1,000 s and moves by jumps alone."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return 1000.0 + self._jumping.waited_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise AssertionError(f"{func} is for a thread, which the clock would not wait for")


class VirtualClock:
    """The `districam_common.runtime.clock.Clock` of code that runs in such a loop."""

    def now_us(self) -> int:
        return START_US + self.monotonic_us()

    def monotonic_us(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e6)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A decorator: runs an asynchronous test in a `VirtualLoop` of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
