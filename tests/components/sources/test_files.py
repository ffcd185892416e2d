import gzip
import random
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import storage
from components.sources import archives, web
from components.sources.files import SourceFile, matching
from serving.errors import InputError
from tests.components.servers import Web
from tests.http_servers import listening


@pytest.fixture
def server() -> Iterator[type[Web]]:
    content = b"text,label\na,b\n"
    handler = type("Handler", (Web,), {"requests": [], "sent": [], "content": content})
    with listening(handler) as url:
        handler.url = url  # type: ignore[attr-defined] # tests ask it where it listens
        yield handler


def file(place: str, folder: Path, sha256: str | None = None) -> SourceFile:
    return SourceFile(place, folder, "download_dataset", sha256)


def test_an_etag_names_a_version_without_moving_the_file(server: type, tmp_path: Path) -> None:
    first = file(f"{server.url}/etag.csv", tmp_path).identity
    assert file(f"{server.url}/etag.csv", tmp_path).identity == first
    assert {request.split()[0] for request in server.requests} == {"HEAD"}
    server.content += b"c,d\n"
    assert file(f"{server.url}/etag.csv", tmp_path).identity != first


def test_without_an_etag_the_content_decides_and_is_moved_once(
    server: type, tmp_path: Path
) -> None:
    first = file(f"{server.url}/plain.csv", tmp_path)
    assert set(first.identity) == {"sha256"}
    assert first.path.read_bytes() == server.content
    assert server.requests.count("GET /plain.csv") == 1
    server.content = b"text,label\nz,b\n"  # the same size
    assert file(f"{server.url}/plain.csv", tmp_path).identity != first.identity


def test_a_busy_server_is_asked_again(server: type, tmp_path: Path) -> None:
    assert file(f"{server.url}/busy.csv", tmp_path).path.read_bytes() == server.content


def test_an_answer_that_breaks_off_is_an_error(server: type, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be fetched"):
        _ = file(f"{server.url}/short.csv", tmp_path).path


@pytest.mark.parametrize("kind", ["breaks", "stalls"])
def test_a_file_that_breaks_off_is_continued_where_it_stopped(
    server: type, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_SECONDS", 0.5)
    server.content = bytes(range(256)) * 40_000
    assert file(f"{server.url}/{kind}.csv", tmp_path).path.read_bytes() == server.content
    half = len(server.content) // 2
    assert server.sent[0] == half
    assert half <= server.sent[1] < half + (1 << 18)  # the block in which it broke off is lost
    assert [path.name for path in tmp_path.rglob("*.*")] == [f"{kind}.csv"]


@pytest.mark.parametrize("kind", ["packed", "packed-breaks"])
def test_a_file_that_is_kept_compressed_comes_as_it_is_and_is_unpacked_here(
    server: type, tmp_path: Path, kind: str
) -> None:
    plain = random.Random(0).randbytes(1 << 20)
    server.content = gzip.compress(plain)
    (tmp_path / "sent").mkdir()
    path = file(f"{server.url}/{kind}.csv", tmp_path / "sent").path
    assert path.read_bytes() == server.content
    assert archives.decompressed(path, tmp_path).read_bytes() == plain
    if kind == "packed-breaks":
        assert len(server.content) // 2 <= server.sent[1] < len(server.content)
    else:
        assert server.sent == [len(server.content)]


def test_a_compression_that_nothing_unpacks_is_named(server: type, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="compressed by zstd"):
        _ = file(f"{server.url}/zstd.csv", tmp_path).path
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_later_process_continues_and_a_changed_file_is_fetched_anew(
    server: type, tmp_path: Path
) -> None:
    server.content = bytes(range(256)) * 40_000
    half = len(server.content) // 2
    for changed in (False, True):
        server.sent.clear()
        target = tmp_path / f"{changed}.csv"
        Path(f"{target}.partial").write_bytes(server.content[:half])
        Path(f"{target}.version").write_text(f'"{hash(server.content)}"')
        if changed:
            server.content = server.content[::-1]
        web.download(f"{server.url}/etag.csv", target, "download_dataset")
        assert target.read_bytes() == server.content
        assert server.sent == [2 * half if changed else half]


def test_secrets_in_an_address_are_not_recorded_or_printed(server: type, tmp_path: Path) -> None:
    host = server.url.removeprefix("http://")
    found = file(f"http://user:secret@{host}/etag.csv?signature=secret", tmp_path).identity
    assert "secret" not in str(found)
    with pytest.raises(InputError, match="answers 404") as error:
        _ = file(f"http://user:secret@{host}/absent.csv?signature=secret", tmp_path).path
    assert "secret" not in str(error.value)
    word = "hunter2"
    for broken in (host, "127.0.0.1:9"):  # a connection that breaks off, and one that is refused
        with pytest.raises(InputError, match="cannot be fetched") as error:
            _ = file(f"http://user:{word}@{broken}/short.csv?signature={word}", tmp_path).path
        assert word not in "".join(traceback.format_exception(error.value))


def test_a_pinned_hash_is_the_identity_and_nobody_is_asked(server: type, tmp_path: Path) -> None:
    pinned = file(f"{server.url}/etag.csv", tmp_path, "0" * 64)
    assert pinned.identity == {"sha256": "0" * 64}
    assert server.requests == []
    with pytest.raises(InputError, match="0000 was asked for"):
        _ = pinned.path


def test_an_object_on_s3_is_named_by_its_etag(store: str, tmp_path: Path) -> None:
    storage.write_bytes(f"{store}/raw/d.csv", b"text,label\n", "text/csv")
    first = file(f"{store}/raw/d.csv", tmp_path)
    assert first.identity["size"] == 11
    assert first.path.read_bytes() == b"text,label\n"
    storage.write_bytes(f"{store}/raw/d.csv", b"label,text\n", "text/csv")
    assert file(f"{store}/raw/d.csv", tmp_path).identity != first.identity


def test_a_pattern_means_the_matching_files_in_order(store: str, tmp_path: Path) -> None:
    for name in ("part-2.csv", "part-10.csv", "other.csv", "deep/part-3.csv"):
        storage.write_bytes(f"{store}/raw/{name}", b"x", "text/csv")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for folder in (f"{store}/raw", str(tmp_path)):
        found = [place.removeprefix(f"{folder}/") for place in matching(f"{folder}/part-*.csv")]
        assert found == ["part-10.csv", "part-2.csv"]
        with pytest.raises(InputError, match="no file matches"):
            matching(f"{folder}/*.parquet")
    assert matching("https://host/*.csv") == ["https://host/*.csv"]
