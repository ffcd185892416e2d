import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from components.sources import archives
from serving.errors import InputError


def tar_gz(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_a_member_that_points_outside_is_written_inside(tmp_path: Path) -> None:
    archive = tar_gz(tmp_path / "a.tar.gz", {"../../escape.csv": b"x", "/abs.csv": b"y"})
    folder = tmp_path / "folder"
    folder.mkdir()
    for member in ("../../escape.csv", "/abs.csv"):
        assert archives.extract(archive, [member], folder).parent == folder
    assert not (tmp_path.parent / "escape.csv").exists()


def test_a_compressed_member_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    archive = tar_gz(tmp_path / "a.tar.gz", {"rows.csv": gzip.compress(b"text\na\n")})
    path = archives.decompressed(archives.extract(archive, ["rows.csv"], tmp_path), tmp_path)
    assert (path.suffix, path.read_bytes()) == (".csv", b"text\na\n")


def test_a_link_in_an_archive_is_no_member(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("rows.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match=r"no member 'rows\.csv'.*empty"):
        archives.extract(path, ["rows.csv"], tmp_path)


def test_only_wanted_files_of_the_folder_itself_come_out(tmp_path: Path) -> None:
    members = {
        "pkg/model/config.json": b"{}",
        "pkg/model/code.py": b"raise SystemExit",
        "pkg/model/deep/config.json": b"[]",
        "pkg/other/config.json": b"[]",
    }
    folder = tmp_path / "folder"
    folder.mkdir()
    archive = tar_gz(tmp_path / "a.tar.gz", members)
    archives.extract_folder(archive, "pkg/model", folder, lambda name: name.endswith(".json"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"config.json": b"{}"}
    with pytest.raises(
        InputError, match=r"no files under 'pkg/modle'; folders in it are pkg/model"
    ):
        archives.extract_folder(archive, "pkg/modle", folder, bool)


def test_a_broken_archive_is_told_as_such(tmp_path: Path) -> None:
    whole = tar_gz(tmp_path / "a.tar.gz", {"rows.csv": bytes(range(256)) * 4000}).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        archives.extract(tmp_path / "cut.tar.gz", ["rows.csv"], tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", b"text,label\n" * 100)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[45] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        archives.extract(tmp_path / "flipped.zip", ["rows.csv"], tmp_path)


def test_a_zip_with_a_password_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.csv", b"text,label\n")
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", content, content.index(signature) + flags, 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match="without a password"):
        archives.extract(path, ["rows.csv"], tmp_path)


def test_half_a_gzip_file_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b")
    with pytest.raises(InputError, match="not a whole gzip file"):
        archives.decompressed(path, tmp_path)
