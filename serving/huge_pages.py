"""Memory in pages of 2 MB: each pass reads all weights, and a TLB of 4 KB pages holds too few."""

import ctypes
from pathlib import Path

_MADV_COLLAPSE = 25  # asm-generic/mman-common.h, since Linux 6.1; Python has no name for it
_SIZE = 1 << 21
"""Bytes of a huge page on x86-64, and on arm64 with pages of 4 KB."""


def collapse() -> None:
    """Move this process's anonymous memory into huge pages, where a mapping holds a whole one.

    It is done at once, whatever the node's setting of transparent huge pages: see madvise(2). A
    kernel that cannot, or has no huge page free, leaves the memory as it is.
    """
    maps = Path("/proc/self/maps")
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in maps.read_text().splitlines() if maps.exists() else ():
        addresses, rights, _, _, inode, *_ = line.split()
        begin, end = (int(address, 16) for address in addresses.split("-"))
        begin, end = -(-begin // _SIZE) * _SIZE, end // _SIZE * _SIZE
        if rights == "rw-p" and inode == "0" and begin < end:
            madvise(begin, end - begin, _MADV_COLLAPSE)
