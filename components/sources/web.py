"""Files at http(s) addresses: what tells one version from the next, and the file itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from components.sources.transfer import Transfer
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
    """Stream the file to `target`; raises InputError when the server does not give it whole."""
    with _request("GET", url) as answer, target.open("wb") as file:
        size = answer.headers.get("Content-Length")
        with Transfer(step, target.name, int(size) if size else None) as transfer:
            for block in answer.iter_content(1 << 18):
                file.write(block)
                transfer.update(len(block))


@contextmanager
def _request(method: str, url: str) -> Iterator[requests.Response]:
    try:
        with requests.Session() as session:
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=_RETRIES))
            with session.request(
                method,
                url,
                stream=True,
                timeout=TIMEOUT_SECONDS,
                headers=_HEADERS,
                allow_redirects=True,
            ) as answer:
                if answer.status_code >= 400:
                    raise InputError(
                        f"{shown(url)} answers {answer.status_code} {answer.reason}. Check the "
                        "address, and whether it needs a login."
                    )
                yield answer
    except requests.RequestException as error:
        raise InputError(
            f"{shown(url)} cannot be fetched ({type(error).__name__}). Check the address and the "
            "network, or download the file and give its path."
        ) from error
