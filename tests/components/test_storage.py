import pytest

from components import storage
from serving.errors import InputError


def test_a_document_that_is_absent_reads_as_none(store: str) -> None:
    assert storage.read_json(f"{store}/absent.json") is None


def test_only_the_first_of_two_creations_stands(store: str) -> None:
    uri = f"{store}/event.json"
    assert storage.create_json(uri, {"by": "first"})
    assert not storage.create_json(uri, {"by": "second"})
    assert storage.read_json(uri) == {"by": "first"}


def test_a_creation_that_is_retried_counts_as_done(store: str) -> None:
    uri = f"{store}/event.json"
    assert storage.create_json(uri, {"by": "first"})
    assert storage.create_json(uri, {"by": "first"})


def test_listings_are_sorted_and_relative(store: str) -> None:
    for name in ("b/2.json", "a/10.json", "a/9.json"):
        storage.write_json(f"{store}/{name}", {})
    assert storage.list_keys(store) == ["a/10.json", "a/9.json", "b/2.json"]
    assert storage.list_folders(store) == ["a", "b"]


def test_numbers_that_json_lacks_are_refused(store: str) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(f"{store}/nan.json", {"loss": float("nan")})


@pytest.mark.parametrize("uri", ["finegate/key", "s3://", "http://bucket/key"])
def test_an_address_that_is_not_s3_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="write s3://bucket/prefix"):
        storage.split(uri)


def test_a_working_store_passes_the_check(store: str) -> None:
    storage.check(store)


def test_a_bucket_that_is_absent_is_named(s3: dict[str, str]) -> None:
    with pytest.raises(InputError, match="bucket of s3://no-such-bucket/x does not exist"):
        storage.check("s3://no-such-bucket/x")


@pytest.fixture
def fresh_client(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    storage.client.cache_clear()
    return monkeypatch


def test_a_wrong_secret_is_told_as_such(store: str, fresh_client: pytest.MonkeyPatch) -> None:
    fresh_client.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InputError, match="AWS_SECRET_ACCESS_KEY"):
        storage.check(store)
    storage.client.cache_clear()


def test_a_server_that_is_down_is_told_as_such(
    store: str, fresh_client: pytest.MonkeyPatch
) -> None:
    fresh_client.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL_S3"):
        storage.check(store)
    storage.client.cache_clear()
