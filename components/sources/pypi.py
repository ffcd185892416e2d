"""A pinned distribution from a package index: downloaded and verified, never installed or run."""

import os
from pathlib import Path

import requests
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DigestMismatchError,
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
)

from components.console import say
from components.fingerprint import sha256_of
from components.sources.settings import PyPISource
from serving.errors import InputError


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
            say(step, f"downloading {package.filename}")
            client.download_package(package, target)
    except NoSuchProjectError as error:
        raise InputError(
            f"the package index has no distribution {source.distribution}. Check its name."
        ) from error
    except DigestMismatchError as error:
        raise InputError(f"{wanted} arrived damaged ({error}). Run again.") from error
    except requests.RequestException as error:
        raise InputError(
            f"{wanted} cannot be downloaded ({error}). Check the network, or set PIP_INDEX_URL to "
            "an index that you reach."
        ) from error
    found = sha256_of(target)
    if found != source.sha256:
        raise InputError(
            f"{target.name} has the SHA-256 {found}, and {source.sha256} is pinned. If the file is "
            "the one you want, put its hash into the config."
        )
    return target


def _find(client: PyPISimple, source: PyPISource, wanted: str) -> DistributionPackage:
    packages = client.get_project_page(source.distribution).packages
    for package in packages:
        if package.version == source.version and package.package_type == source.kind:
            return package
    offered = sorted({f"{p.version} ({p.package_type})" for p in packages if p.version})
    raise InputError(f"the package index has no {wanted}; it has {', '.join(offered[-8:])}.")
