"""Becomes another program that dies with its parent. Run as a script: `python -I -S launch.py PARENT_PID PROGRAM ARG…`.

A program of its own rather than `preexec_fn`, which may deadlock in a parent that has threads. Standard library only.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); kept over execve


def main(parent_pid: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the line above: nobody would tell us
            sys.exit("the parent is gone")
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # no shell is the point
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
