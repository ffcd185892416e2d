"""Members of zip, tar and gzip archives, read without unpacking the rest."""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import IO

from serving.errors import InputError


def extract(archive: Path, path: Sequence[str], folder: Path) -> Path:
    """Copy one member to `folder`; `path` leads through archives within archives.

    Raises InputError when a step is no archive or has no such member.
    """
    for depth, member in enumerate(path):
        target = folder / f"{depth}-{PurePosixPath(member).name}"
        with _members(archive) as members:
            source = members.open(member)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        archive = target
    return archive


def extract_folder(archive: Path, member: str, folder: Path) -> None:
    """Copy the files directly under the folder `member` to `folder`."""
    prefix = PurePosixPath(member)
    with _members(archive) as members:
        names = [name for name in members.names if PurePosixPath(name).parent == prefix]
        if not names:
            raise InputError(
                f"{archive.name} has no files under {member!r}; it holds "
                f"{', '.join(sorted({str(PurePosixPath(n).parent) for n in members.names})[:8])}."
            )
        for name in names:
            with members.open(name) as source:
                (folder / PurePosixPath(name).name).write_bytes(source.read())


def decompressed(path: Path, folder: Path) -> Path:
    """The file itself, or its content when it is a gzip file that is no tar archive."""
    if path.suffix != ".gz" or tarfile.is_tarfile(path):
        return path
    target = folder / path.stem
    try:
        with gzip.open(path) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path.name} is not a whole gzip file ({error}). Download it again."
        ) from error
    return target


class _Members:
    """Names of an archive's files, and a way to open one."""

    def __init__(self, archive: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> None:
        self._archive, self._opened = archive, opened
        if isinstance(opened, zipfile.ZipFile):
            self.names = [name for name in opened.namelist() if not name.endswith("/")]
        else:
            self.names = [member.name for member in opened if member.isfile()]

    def open(self, name: str) -> IO[bytes]:
        if name not in self.names:
            near = get_close_matches(name, self.names, 3, 0.3) or sorted(self.names)[:5]
            raise InputError(
                f"{self._archive.name} has no member {name!r}; near to it are {', '.join(near)}."
            )
        if isinstance(self._opened, zipfile.ZipFile):
            return self._opened.open(name)
        content = self._opened.extractfile(name)
        assert content is not None  # only files are named
        return content


@contextmanager
def _members(archive: Path) -> Iterator[_Members]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _Members(archive, opened)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield _Members(archive, tar)
        else:
            raise InputError(
                f"{archive.name} is neither a zip nor a tar archive, so it has no members. Leave "
                "`member` out to read the file itself."
            )
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive.name} is damaged ({error}). Download it again.") from error
