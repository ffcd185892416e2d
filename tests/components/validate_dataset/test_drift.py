import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import folders, promotions, storage
from components.validate_dataset.champion import compare
from components.validate_dataset.drift import Shift, shifts
from components.validate_dataset.settings import DriftSettings
from serving.errors import InputError
from tests.conftest import hotel_rows

SINGLE = "single_label_classification"
SHARED = Path("../shared/data")
HOTELS, CATEGORIES = SHARED / "ChnSentiCorp_htl_all.csv", SHARED / "online_shopping_10_cats.zip"
with_real_data = pytest.mark.skipif(
    not HOTELS.is_file(), reason="the reviews are not beside this checkout"
)


def made_up(count: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame(hotel_rows(count, seed), columns=["text", "label"])


def hotels() -> pd.DataFrame:
    rows = pd.read_csv(HOTELS).dropna().rename(columns={"review": "text"})
    return rows.assign(label=rows["label"].astype(str))


def books() -> pd.DataFrame:
    with zipfile.ZipFile(CATEGORIES) as archive, archive.open(archive.namelist()[0]) as file:
        rows = pd.read_csv(file).dropna().rename(columns={"review": "text"})
    rows = rows[rows["cat"] == "书籍"]
    return rows.assign(label=rows["label"].astype(str))


def by_name(ours: pd.DataFrame, theirs: pd.DataFrame, **settings: Any) -> dict[str, Shift]:
    found = shifts(ours, theirs, DriftSettings.model_validate(settings), SINGLE)
    return {shift.name: shift for shift in found}


def test_a_shift_of_one_property_is_named_and_the_others_are_not() -> None:
    rows = made_up(2400, 0)
    champion, fresh = rows[:1200], rows[1200:]
    assert not any(shift.shifted for shift in by_name(fresh, champion).values())

    blamed = fresh[(fresh["label"] != "praise") | (np.arange(1200) % 2 == 0)]
    found = by_name(blamed, champion)
    assert (found["label"].shifted, found["length"].shifted) == (True, False)
    assert "praise" in found["label"].sentence

    longer = fresh.assign(text=fresh["text"] + " " + fresh["text"].str[::3])
    assert by_name(longer, champion)["length"].shifted

    other = fresh.assign(text=fresh["text"].str.replace("hotel", "phone").str.replace("the", "a"))
    found = by_name(other, champion)
    assert found["vocabulary"].shifted
    assert "phone" in found["vocabulary"].sentence
    assert not found["label"].shifted


def test_a_large_dataset_does_not_cry_wolf_over_a_difference_that_means_nothing() -> None:
    chance = np.random.default_rng(0)
    champion = pd.DataFrame({"text": ["a text"] * 100_000, "label": chance.random(100_000) < 0.50})
    fresh = pd.DataFrame({"text": ["a text"] * 100_000, "label": chance.random(100_000) < 0.52})
    found = by_name(fresh.astype(str), champion.astype(str), rows=500)["label"]
    assert found.p_value < 1e-6
    assert found.effect == pytest.approx(0.02, abs=0.005)
    assert not found.shifted


@pytest.mark.parametrize("labels", [("toxic",), ("toxic", "spam")])
def test_labels_that_apply_to_fewer_rows_are_a_shift_though_all_of_them_do(
    labels: tuple[str, ...],
) -> None:
    rows = made_up(1000, 0)
    often, seldom = (
        rows.assign(label=[list(labels) if row % 10 < tens else [] for row in range(1000)])
        for tens in (9, 1)
    )
    found = shifts(often, seldom, DriftSettings(), "multi_label_classification")[0]
    assert (found.name, found.shifted, found.effect) == ("label", True, pytest.approx(0.8))
    assert "toxic 90.0% (champion 10.0%)" in found.sentence
    same = shifts(often, often, DriftSettings(), "multi_label_classification")[0]
    assert (same.shifted, same.p_value) == (False, 1.0)


def test_numbers_as_labels_are_compared_as_numbers() -> None:
    rows = made_up(400, 0)
    champion = rows.assign(label=np.arange(400) % 10)
    found = shifts(
        rows.assign(label=np.arange(400) % 10 + 3), champion, DriftSettings(), "regression"
    )
    assert (found[0].name, found[0].shifted) == ("label", True)


def test_the_same_source_sampled_twice_is_seldom_flagged() -> None:
    """100 resamples; alpha is 0.01, and the bounds on the effects make it rarer still."""
    real = HOTELS.is_file()
    rows = hotels() if real else made_up(6000, 0)
    flagged = significant = 0
    for seed in range(100):
        drawn = rows.sample(2000, random_state=seed)
        found = shifts(drawn[:1000], drawn[1000:], DriftSettings(rows=500), SINGLE)
        flagged += any(shift.shifted for shift in found)
        significant += any(shift.p_value < 0.01 for shift in found)
    sys.stdout.write(f"flagged {flagged}, significant alone {significant} of 100 resamples\n")
    assert significant <= 5
    assert flagged <= 1


def publish(store: str, folder: Path, name: str, rows: pd.DataFrame) -> str:
    (folder / name).mkdir()
    rows[["text", "label"]].to_parquet(folder / name / "train.parquet")
    uri = f"{store}/validated/{name}"
    folders.publish(folder / name, uri, {"fingerprint": name, "problem_type": SINGLE})
    return uri


def promote(store: str, dataset: str, version: str = "v1") -> None:
    """A champion that was trained on the dataset."""
    release = {"version": version, "lineage": {"dataset": dataset}, "files": []}
    storage.write_json(f"{store}/models/reviews/{version}/release.json", release)
    before = promotions.champion(store, "reviews")
    promotions.append(
        store, "reviews", before, action="promote", version=version, run="r", reason="better"
    )


@with_real_data
def test_book_reviews_are_told_from_the_hotels_that_the_champion_knows(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(store, tmp_path, "hotels", hotels())
    candidate = publish(store, tmp_path, "books", books())
    promote(store, "hotels")
    document = storage.read_json(compare(store, "reviews", candidate, DriftSettings()))
    assert document["champion"] == {"version": "v1", "dataset": "hotels"}
    assert [shift["name"] for shift in document["shifts"] if shift["shifted"]] == [
        "label",
        "length",
        "vocabulary",
    ]
    said = capsys.readouterr().out
    assert "drift from the dataset of champion v1: label shift" in said
    assert "这本" in said
    assert "酒店" in said
    with pytest.raises(InputError, match=r"have drifted .*validation\.drift\.rule to warn"):
        compare(store, "reviews", candidate, DriftSettings(rule="fail"))


def test_there_is_nothing_to_compare_without_a_champion_or_with_its_own_dataset(
    store: str, tmp_path: Path
) -> None:
    uri = publish(store, tmp_path, "same", made_up(100, 0))
    assert compare(store, "reviews", uri, DriftSettings()) == ""
    promote(store, "same")
    assert compare(store, "reviews", uri, DriftSettings()) == ""
    other = publish(store, tmp_path, "other", made_up(100, 1))
    assert compare(store, "reviews", other, DriftSettings(rule="ignore")) == ""
    assert storage.read_json(compare(store, "reviews", other, DriftSettings()))["shifts"]


def test_the_champion_that_is_named_is_todays_though_both_learned_from_one_dataset(
    store: str, tmp_path: Path
) -> None:
    publish(store, tmp_path, "theirs", made_up(100, 0))
    ours = publish(store, tmp_path, "ours", made_up(100, 1))
    for version in ("v1", "v2"):
        promote(store, "theirs", version)
        document = storage.read_json(compare(store, "reviews", ours, DriftSettings()))
        assert document["champion"] == {"version": version, "dataset": "theirs"}
