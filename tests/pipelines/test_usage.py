from components import storage
from pipelines.usage import Usage, usage


def test_objects_and_bytes_are_counted_by_the_stores_folders(store: str) -> None:
    for key, size in {"models/a/1": 5, "models/a/2": 7, "runs/r/report.html": 20}.items():
        storage.write_bytes(f"{store}/{key}", b"x" * size, "text/plain")
    assert usage(store) == [Usage("runs", 1, 20), Usage("models", 2, 12)]
    assert usage(f"{store}/nothing") == []
