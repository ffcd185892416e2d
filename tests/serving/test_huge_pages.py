"""Weights move into huge pages, and what they hold stays."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import mmap
    from pathlib import Path
    from serving import huge_pages

    def in_huge_pages() -> int:
        smaps = Path("/proc/self/smaps").read_text().splitlines()
        return sum(int(line.split()[1]) for line in smaps if line.startswith("AnonHugePages")) << 10

    pages = [bytes([number % 251]) * mmap.PAGESIZE for number in range((32 << 20) // mmap.PAGESIZE)]
    held = mmap.mmap(-1, 32 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in pages:
        held.write(page)
    before = in_huge_pages()
    huge_pages.collapse()
    print(before, in_huge_pages(), held[:] == b"".join(pages))
"""
CANNOT = """
    import mmap
    held = mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(bytes(4 << 20))
    collapse = 25
    held.madvise(collapse)
"""


def test_large_memory_moves_into_huge_pages_and_keeps_what_it_holds() -> None:
    if _python(CANNOT).returncode:
        pytest.skip("this kernel has no MADV_COLLAPSE, or no huge page is free")
    ran = _python(SCRIPT)
    assert ran.returncode == 0, ran.stderr
    before, after, same = ran.stdout.split()
    assert int(before) < 16 << 20  # else the test shows nothing
    assert int(after) >= 28 << 20
    assert same == "True"


def _python(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
