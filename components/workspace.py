"""A step's folder for files in the making, which outlives a kill: the next try goes on there."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.transfers import TransferError
from serving.errors import InputError

SECONDS_KEPT = 7 * 24 * 3600
_ALONE = "alone-"


@contextmanager
def workspace(step: str, key: str) -> Iterator[Path]:
    """A folder named by the step and the `key` of its work, under the machine's temporary folder.

    After a kill, a broken transfer or a defect it stays, and the next process with the same work
    gets it as it is: whole files in it are whole, others must be written anew. It goes when the
    work is done or refused, or after a week. A second process at the same work gets a folder of
    its own, so that neither waits for the other.
    """
    home = _home()
    _sweep(home)
    with (home / f"{step}-{key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with tempfile.TemporaryDirectory(dir=home, prefix=_ALONE) as alone:
                yield Path(alone)
            return
        folder = home / f"{step}-{key}"
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        try:
            yield folder
        except TransferError:
            raise
        except InputError:
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _home() -> Path:
    home = Path(tempfile.gettempdir()) / f"finegate-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise InputError(
            f"{home} belongs to somebody else, so nothing private can be put there. Remove it, or "
            "set TMPDIR to a folder of your own."
        )
    return home


def _sweep(home: Path) -> None:
    """Remove what nobody came back for."""
    for lock_path in home.glob("*.lock"):
        folder = lock_path.with_suffix("")
        try:
            if folder.is_dir() and time.time() - folder.stat().st_mtime > SECONDS_KEPT:
                with lock_path.open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
        except (BlockingIOError, FileNotFoundError):  # at work, or swept by another process
            continue
    for folder in home.glob(f"{_ALONE}*"):
        if time.time() - folder.stat().st_mtime > SECONDS_KEPT:
            shutil.rmtree(folder, ignore_errors=True)
