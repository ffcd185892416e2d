import json
import random
from pathlib import Path

import pytest

from components import folders, storage
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.transfers import PART
from tests.components.interrupted import run

DOWNLOAD = """
import json
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
download(sys.argv[1], DatasetSettings.model_validate(json.loads(sys.argv[2])))
"""
PARTS = 5


@pytest.fixture(scope="module")
def source(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CSV of five parts and a few long rows."""
    chance = random.Random(0)
    rows = "".join(
        f"{'ab'[n % 2]},{chance.randbytes(PART // 4).hex()}\n" for n in range(2 * PARTS - 1)
    )
    folder = tmp_path_factory.mktemp("source")
    (folder / "d.csv").write_text("label,text\n" + rows)
    folders.publish(folder, "s3://finegate/source", {})
    return "s3://finegate/source/d.csv"


@pytest.mark.parametrize(
    "moment",
    [
        ("GetObject", 1),
        ("GetObject", PARTS),
        ("ListObjectsV2", 1),  # the source is here, its rows are not yet there
        ("UploadPart", 2),
        ("CompleteMultipartUpload", 1),
        ("PutObject", 1),  # the manifest
    ],
)
def test_a_killed_download_moves_only_what_is_missing_and_gives_the_same_bytes(
    store: str, tmp_path: Path, source: str, moment: tuple[str, int]
) -> None:
    settings = {"s3": source}
    home = tmp_path / "home"
    first = run(DOWNLOAD, store, json.dumps(settings), home=home, kill_at=moment)
    assert not [key for key in storage.list_keys(store) if key.endswith("manifest.json")]
    records = list(home.rglob("d.csv.parts"))
    there = sum(len(record.read_text().splitlines()) - 1 for record in records)
    there = PARTS if list(home.rglob("d.csv")) else there
    again = run(DOWNLOAD, store, json.dumps(settings), home=home)
    manifests = 3  # asked for before the work and before the upload, and read back after it
    assert again["GetObject"] == PARTS - there + manifests
    sent = first["UploadPart"] - (moment[0] == "UploadPart")
    assert first["UploadPart"] + again["UploadPart"] <= 4 * PARTS
    if moment[0] in ("CompleteMultipartUpload", "PutObject"):
        assert sent > 0
        assert again["UploadPart"] == 0
    uri = download(store, DatasetSettings.model_validate(settings))
    undisturbed = download("s3://finegate/undisturbed", DatasetSettings.model_validate(settings))
    assert folders.existing(uri)["files"] == folders.existing(undisturbed)["files"]
    assert not list(home.rglob("*.csv*"))


def test_an_unchanged_source_is_not_moved_again(store: str, tmp_path: Path, source: str) -> None:
    settings = json.dumps({"s3": source})
    first = run(DOWNLOAD, store, settings, home=tmp_path / "home")
    assert first["GetObject"] == PARTS + 3  # the manifest, twice before and once after
    again = run(DOWNLOAD, store, settings, home=tmp_path / "home")
    assert again == {"HeadObject": 1, "GetObject": 1}
