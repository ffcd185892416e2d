"""Files at http(s) addresses: what tells one version from the next, and the file itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from components.sources.transfer import Transfer
from components.transfers import TransferError
from serving.errors import InputError

TIMEOUT_SECONDS = 60
# An unreachable host is told at once; a busy one is asked again after 0, 1 and 2 seconds.
_RETRIES = Retry(
    total=3,
    connect=1,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,
)
_READS = 5
"""Times that a file is continued within one run."""
_NOTHING_LEFT = 416
_NOT_UNPACKED = ("br", "compress", "deflate", "zstd")
# Some servers compress on the way, and then ETag and size are not those of the file.
_HEADERS = {"Accept-Encoding": "identity"}


def shown(url: str) -> str:
    """The address without what may be secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def version(url: str) -> dict[str, str] | None:
    """What the server says of the file without sending it; None when that decides nothing.

    An ETag decides; so does a date with a size, unless a query may choose among files.
    """
    try:
        with _request("HEAD", url) as answer:
            headers = answer.headers
    except InputError:  # some servers refuse HEAD only; GET tells the others' cause
        return None
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    size = headers.get("Content-Length", "")
    if etag or (modified and size and not urlsplit(url).query):
        return {"address": shown(url), "etag": etag, "last-modified": modified, "size": size}
    return None


def download(url: str, target: Path, step: str) -> None:
    """Stream the file to `target`, continuing where a try before stopped.

    What is there already is asked for no more, as long as the server says by an ETag or a date
    (If-Range, RFC 9110 section 13.1.5) that the file is still the same. Raises InputError when the
    server does not give it whole, TransferError when it breaks off again and again.
    """
    for attempt in range(1, _READS + 1):
        try:
            _receive(url, target, step)
            return
        except TransferError:
            if attempt == _READS:
                raise


def _receive(url: str, target: Path, step: str) -> None:
    partial = target.with_name(target.name + ".partial")
    record = target.with_name(target.name + ".version")
    there = partial.stat().st_size if partial.is_file() and record.is_file() else 0
    asked = {"Range": f"bytes={there}-", "If-Range": record.read_text()} if there else {}
    with _request("GET", url, asked) as answer:
        if answer.status_code == _NOTHING_LEFT:
            partial.unlink()
            raise TransferError(f"{shown(url)} has no byte {there}; it is fetched anew.")
        packed = answer.headers.get("Content-Encoding", "")
        if packed in _NOT_UNPACKED:
            raise InputError(
                f"{shown(url)} comes compressed by {packed}, and only gzip is unpacked here. "
                "Download the file and give its path."
            )
        rest = int(answer.headers.get("Content-Length", -1))
        if answer.status_code != 206:
            there = 0
            partial.unlink(missing_ok=True)
            record.unlink(missing_ok=True)
            # A weak ETag names what means the same, not the same bytes; If-Range takes none.
            version = answer.headers.get("ETag", "")
            if not version or version.startswith("W/"):
                version = answer.headers.get("Last-Modified", "")
            if version:
                record.write_text(version)
        size = there + rest if rest >= 0 else None
        transfer = Transfer(step, target.name, size)
        transfer.update(there)
        with partial.open("ab") as file:
            # As sent: a file that is kept compressed comes so, and its size is that of this.
            for block in answer.raw.stream(1 << 18, decode_content=False):
                file.write(block)
                transfer.update(len(block))
    if size is not None and partial.stat().st_size != size:
        raise TransferError(f"{shown(url)} gave {partial.stat().st_size} bytes of {size}.")
    record.unlink(missing_ok=True)
    partial.replace(target)


@contextmanager
def _request(
    method: str, url: str, asked: dict[str, str] | None = None
) -> Iterator[requests.Response]:
    try:
        with requests.Session() as session:
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=_RETRIES))
            with session.request(
                method,
                url,
                stream=True,
                timeout=TIMEOUT_SECONDS,
                headers={**_HEADERS, **(asked or {})},
                allow_redirects=True,
            ) as answer:
                if answer.status_code >= 400 and answer.status_code != _NOTHING_LEFT:
                    raise InputError(
                        f"{shown(url)} answers {answer.status_code} {answer.reason}. Check the "
                        "address, and whether it needs a login."
                    )
                yield answer
    except (urllib3.exceptions.HTTPError, requests.exceptions.ConnectionError) as error:
        raise TransferError(
            f"{shown(url)} cannot be fetched ({type(error).__name__}). Check the address and the "
            "network and run again (what arrived is kept), or download the file and give its path."
        ) from None  # what these errors say holds the whole address
    except requests.RequestException as error:
        raise InputError(
            f"{shown(url)} cannot be fetched ({type(error).__name__}). Check the address and the "
            "network, or download the file and give its path."
        ) from None
