"""Members of zip, tar and gzip archives, read without unpacking the rest."""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import IO

from serving.errors import InputError

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or tar archive, by its content."""
    return zipfile.is_zipfile(path) or _is_tar(path)


def names(archive: Path) -> list[str]:
    """Names of the files in the archive."""
    with _members(archive) as members:
        return members.names


def extract(archive: Path, path: Sequence[str], folder: Path) -> Path:
    """Copy one member to `folder`; `path` leads through archives within archives.

    Only the member's last name part is used there, so no archive can write outside `folder`.
    Raises InputError when a step is no archive or has no such member.
    """
    for depth, member in enumerate(path):
        target = folder / f"{depth}-{PurePosixPath(member).name}"
        with _members(archive) as members:
            members.copy(member, target)
        archive = target
    return archive


def extract_folder(archive: Path, member: str, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Copy the `wanted` ones (by name) of the files directly under the folder `member`."""
    prefix = PurePosixPath(member)
    with _members(archive) as members:
        inside = [name for name in members.names if PurePosixPath(name).parent == prefix]
        if not inside:
            folders = sorted({str(PurePosixPath(name).parent) for name in members.names})
            near = get_close_matches(str(prefix), folders, 3, 0.3) or folders[:8]
            raise InputError(
                f"{archive.name} has no files under {member!r}; folders in it are "
                f"{', '.join(near)}. Set member to the one that holds config.json."
            )
        for name in inside:
            if wanted(PurePosixPath(name).name):
                members.copy(name, folder / PurePosixPath(name).name)


def decompressed(path: Path, folder: Path) -> Path:
    """The file itself, or its content when it is a gzip file that is no tar archive."""
    if not _is_gzip(path) or _is_tar(path):
        return path
    target = folder / f"unpacked-{path.name.removesuffix('.gz')}"  # `path` may lie there too
    try:
        with gzip.open(path) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except _DAMAGE as error:
        raise InputError(
            f"{path.name} is not a whole gzip file ({error}). Download it again."
        ) from error
    return target


def _is_gzip(path: Path) -> bool:
    """By the suffix or the first two bytes (RFC 1952): servers hand out gzip under any name."""
    with path.open("rb") as file:
        return path.suffix == ".gz" or file.read(2) == b"\x1f\x8b"


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except _DAMAGE:  # it looks into half a gzip file, and trips
        return False


class _Members:
    """Names of an archive's files, and their contents."""

    def __init__(self, archive: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> None:
        self._archive, self._opened = archive, opened
        if isinstance(opened, zipfile.ZipFile):
            self.names = [name for name in opened.namelist() if not name.endswith("/")]
        else:
            self.names = [member.name for member in opened if member.isfile()]

    def copy(self, name: str, target: Path) -> None:
        with self._open(name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def _open(self, name: str) -> IO[bytes]:
        if name not in self.names:
            near = get_close_matches(name, self.names, 3, 0.3) or sorted(self.names)[:5]
            raise InputError(
                f"{self._archive.name} has no member {name!r}; near to it are "
                f"{', '.join(near) or 'none, it is empty'}. Set member to the one you mean."
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
    except _DAMAGE as error:
        raise InputError(f"{archive.name} is damaged ({error}). Download it again.") from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile: encrypted, unknown method
        raise InputError(
            f"{archive.name} cannot be unpacked ({error}). Pack it again without a password, as "
            "zip (deflate) or tar.gz."
        ) from error
