import platform
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, sys, tempfile, threading
from serving.__main__ import limit_arenas

if len(sys.argv) > 1:
    limit_arenas(int(sys.argv[1]))
together = threading.Barrier(20)

def allocate():
    together.wait()
    bytearray(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as page:
    stream = ctypes.c_void_p(libc.fopen(page.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(page.read().decode().count("<heap nr="))
"""


def _arenas(*arguments: str) -> int:
    command = [sys.executable, "-c", ARENAS, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc has no such arenas")
def test_threads_share_as_many_arenas_as_are_allowed() -> None:
    assert _arenas() > 3
    assert _arenas("3") <= 3
