"""The defects of two real datasets, found and handled by rule."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from components import folders
from components.download_dataset.dataset import download
from components.download_dataset.settings import DatasetSettings
from components.validate_dataset.dataset import validate
from components.validate_dataset.settings import ValidationSettings
from pipelines.config import load

HOTELS = Path("../shared/data/ChnSentiCorp_htl_all.csv")


def validated(store: str, config: str, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    settings = load(Path(f"configs/{config}.yaml")).dataset
    settings = DatasetSettings.model_validate({**settings.model_dump(), **changes})
    rows = download(store, settings)
    uri = validate(store, rows, ValidationSettings())
    folders.fetch(rows, tmp_path)
    manifest = folders.fetch(uri, tmp_path)
    return {**manifest, "found": {each["name"]: each for each in manifest["findings"]}}


def accuracy(train: pd.DataFrame, test: pd.DataFrame) -> float:
    words = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = make_pipeline(words, LogisticRegression(C=20, solver="liblinear"))
    model.fit(train["text"], train["label"])
    return float(model.score(test["text"], test["label"]))


def test_shop_reviews_are_more_than_half_duplicates_and_leak_when_split_at_random(
    store: str, tmp_path: Path
) -> None:
    manifest = validated(store, "shop_reviews_zh", tmp_path)
    found = manifest["found"]
    assert found["duplicates"]["count"] > 17_500
    assert found["duplicates"]["action"] == "dropped"
    assert found["duplicates"]["rows"][0] == "neg.txt:177"
    assert found["conflicts"]["count"] == 237
    assert found["near_duplicates"]["action"] == "kept in one split with it"
    assert found["sorted_by_label"]["rows"] == ["pos.txt:1"]
    assert "补充点评0年0月0日" in found["boilerplate"]["detail"]["phrases"]
    rows = pd.read_parquet(tmp_path / "findings.parquet")
    assert (rows["name"] == "duplicates").sum() == found["duplicates"]["count"]

    raw = pd.read_parquet(tmp_path / "rows.parquet").dropna(subset=["text"])
    raw = raw.sample(frac=1, random_state=0)
    tenth = len(raw) // 10
    leaking = accuracy(raw[tenth:], raw[:tenth])
    honest = accuracy(
        *(pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("train", "test"))
    )
    sys.stdout.write(f"TF-IDF: {leaking:.3f} split at random, {honest:.3f} after validation\n")
    assert leaking - honest > 0.1
    [seen] = found["duplicates"]["detail"].values()
    assert seen > 0.8


@pytest.mark.skipif(not HOTELS.is_file(), reason="the hotel reviews are not beside this checkout")
def test_hotel_reviews_are_sorted_have_a_row_without_text_and_boilerplate(
    store: str, tmp_path: Path
) -> None:
    manifest = validated(store, "hotel_reviews", tmp_path, path=str(HOTELS))
    found = manifest["found"]
    name = HOTELS.name
    assert found["missing_text"]["rows"] == [f"{name}:6376"]
    assert found["sorted_by_label"]["rows"] == [f"{name}:5324"]
    assert found["short_text"]["count"] == 2
    assert f"{name}:176" in found["foreign_script"]["rows"]
    assert found["boilerplate"]["detail"]["phrases"]["补充点评0年0月0日"] == 470
    assert {
        split["labels"].keys() == {"好评", "差评"} for split in manifest["splits"].values()
    } == {True}
