"""Landlock, the Linux way (5.13 and later) for a process to give up the file system, without any privilege.

See https://docs.kernel.org/userspace-api/landlock.html; the numbers are those of ``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on all processors
NO_NEW_PRIVILEGES = 38  # of prctl
READ, WRITE_EXISTING = 0b1100, 0b10  # files and folders
SYSTEM = ("/usr", "/lib", "/lib64", "/etc", "/opt", "/sys", "/dev", "/run/nvidia-persistenced")
PROC = (
    "self",
    "cpuinfo",
    "meminfo",
    "stat",
    "sys",
    "driver",
    "devices",
    "filesystems",
)  # not other processes' command lines
ACCESSES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many kinds of access each version of the interface knows
TCP_SINCE, BOTH_WAYS = 4, 0b11  # to wait for and to open connections


def version() -> int:
    """Which version of Landlock the kernel speaks; 0 for none."""
    return (
        max(0, ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)) if sys.platform == "linux" else 0
    )


def restrict(folders: list[str], scratch: str) -> bool:
    """Forbid this process, for good, to read files outside ``folders`` and the system's, to write or make any but in ``scratch``, and TCP.

    Call it before other threads start: those that run already are not bound.

    Returns:
        Whether the kernel does that.
    """
    known = version()
    if not known:
        return False
    system = ctypes.CDLL(None)
    everything = 2 ** ACCESSES[min(known, max(ACCESSES))] - 1
    handled = struct.pack("<QQ", everything, BOTH_WAYS if known >= TCP_SINCE else 0)
    rules = system.syscall(CREATE_RULESET, handled, ctypes.c_size_t(16 if known >= TCP_SINCE else 8), 0)
    if rules < 0:
        return False
    for folder in (*SYSTEM, *(f"/proc/{name}" for name in PROC), *folders):
        _allow(system, rules, folder, READ | (WRITE_EXISTING if folder == "/dev" else 0))
    _allow(system, rules, scratch, everything)
    done = system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and system.syscall(RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return done


def _allow(system: ctypes.CDLL, rules: int, folder: str, access: int) -> None:
    try:
        handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if os.path.isfile(folder):
        access &= 0b111  # a file takes no rule for folders
    system.syscall(ADD_RULE, rules, 1, struct.pack("<Qi", access, handle), 0)
    os.close(handle)
