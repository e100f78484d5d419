"""Replaces itself by a program that dies with its parent: `python -I -S launch.py PARENT_PID PROGRAM ARG…`.

It is a separate program because `preexec_fn` may deadlock in a parent with threads. Standard library only.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); preserved across execve


def main(parent_pid: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # the parent died before prctl: no signal will come
            sys.exit("the parent is gone")
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # runs the program without a shell
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
