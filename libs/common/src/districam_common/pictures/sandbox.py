"""Restricts a process before it decodes untrusted data: memory, files, network, other programs."""

import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
"""prctl(2), linux/prctl.h. Landlock requires it of processes without CAP_SYS_ADMIN (landlock_restrict_self(2))."""
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
"""System call numbers, the same on every architecture (Linux, include/uapi/asm-generic/unistd.h)."""
_LANDLOCK_VERSION = 1
"""`LANDLOCK_CREATE_RULESET_VERSION`: the call returns the version of the ABI (landlock_create_ruleset(2))."""
_FILE_ACCESS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of file access rights by version of Landlock's ABI (landlock(7)); later versions have 16."""
_MIN_NETWORK_VERSION, _TCP_BIND_AND_CONNECT = 4, 0b11
"""First ABI with network rights, and `LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP`."""


def enter_sandbox(memory_bytes: int) -> bool:
    """Restricts the process irrevocably to what decoding needs; all modules must have been imported before.

    It may use `memory_bytes` of address space more than now, cannot write to files and, unless it is root, cannot start
    processes. With Landlock (Linux 5.13 and later) it can neither open nor execute files, nor open TCP connections (Linux
    6.7 and later). Returns False if the kernel has no Landlock.
    """
    # A terminal or supervisor may signal the whole process group; this process ends when its standard input does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 3,  # standard input, output and error
    }
    has_landlock = _restrict_by_landlock()
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, limit))
    return has_landlock


def _restrict_by_landlock() -> bool:
    """Denies all access to files and TCP that the kernel's Landlock can control, by a ruleset without rules."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION))
    if version < 1:
        return False
    kinds = (1 << _FILE_ACCESS_BITS.get(version, 16)) - 1
    has_network = version >= _MIN_NETWORK_VERSION
    handled = (ctypes.c_uint64 * 2)(kinds, _TCP_BIND_AND_CONNECT if has_network else 0)
    size = ctypes.c_size_t(16 if has_network else 8)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(handled), size, ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)
