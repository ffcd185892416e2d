from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from components import storage
from components.sources.files import SourceFile, matching
from serving.errors import InputError


class _Server(BaseHTTPRequestHandler):
    """/etag.csv has an ETag, /plain.csv nothing, /busy.csv answers at the second try."""

    requests: list[str]
    content: bytes

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        self.requests.append(f"{self.command} {path}")
        first = self.requests.count(f"{self.command} {path}") == 1
        if path == "/busy.csv" and first:
            status = 503
        elif path == "/plain.csv" and self.command == "HEAD":
            status = 405
        else:
            status = 404 if path == "/absent.csv" else 200
        body = self.content if status == 200 else b""
        self.send_response(status)
        if path == "/etag.csv":
            self.send_header("ETag", f'"{hash(self.content)}"')
        missing = 5 if path == "/short.csv" and self.command == "GET" else 0
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[type[_Server]]:
    handler = type("Handler", (_Server,), {"requests": [], "content": b"text,label\na,b\n"})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=http.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{http.server_port}"  # type: ignore[attr-defined]
    yield handler
    http.shutdown()


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


def test_secrets_in_an_address_are_not_recorded_or_printed(server: type, tmp_path: Path) -> None:
    host = server.url.removeprefix("http://")
    found = file(f"http://user:secret@{host}/etag.csv?signature=secret", tmp_path).identity
    assert "secret" not in str(found)
    with pytest.raises(InputError, match="answers 404") as error:
        _ = file(f"http://user:secret@{host}/absent.csv?signature=secret", tmp_path).path
    assert "secret" not in str(error.value)


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
