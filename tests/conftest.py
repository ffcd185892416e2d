"""A real S3 server for every test that asks for a store."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from components import storage
from pipelines import object_store


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The AWS variables of a SeaweedFS server that lives as long as the session."""
    state = Path(tempfile.mkdtemp(prefix="finegate-test-"))
    variables = object_store.start(state)
    before = dict(os.environ)
    os.environ.update(variables)
    storage.client.cache_clear()
    try:
        yield variables
    finally:
        os.environ.clear()
        os.environ.update(before)
        storage.client.cache_clear()
        object_store.stop(state)
        shutil.rmtree(state)


@pytest.fixture
def store(s3: dict[str, str]) -> str:
    """An empty place on the S3 server, as `s3://bucket/prefix`."""
    return f"s3://{object_store.BUCKET}/{uuid4().hex[:12]}"
