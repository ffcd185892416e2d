import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components import folders, storage
from components.validate_dataset.dataset import validate
from components.validate_dataset.settings import SplitSettings, ValidationSettings
from components.validate_dataset.splits import cut
from serving.errors import InputError

Rows = list[tuple[str | None, str | None, str | None]]


def text(number: int) -> str:
    """No two of them are alike."""
    return f"Text {sha256(str(number).encode()).hexdigest()[:24]}"


def clean(count: int = 200, split: str | None = None) -> Rows:
    labels = random.Random(0).sample("ab" * (count // 2), count)
    return [(text(n), labels[n], split) for n in range(count)]


def publish(store: str, tmp_path: Path, rows: Rows, **facts: Any) -> str:
    frame = pd.DataFrame(rows, columns=["text", "label", "split"])
    frame.insert(0, "row", range(1, len(frame) + 1))
    frame.insert(1, "file", "d.csv")
    folder = tmp_path / "rows"
    folder.mkdir(exist_ok=True)
    frame.to_parquet(folder / "rows.parquet")
    version = sha256((folder / "rows.parquet").read_bytes()).hexdigest()
    uri = f"{store}/datasets/{version}"
    folders.publish(folder, uri, {"fingerprint": version, **facts})
    return uri


def run(store: str, tmp_path: Path, rows: Rows, **settings: Any) -> tuple[dict[str, Any], Any]:
    dataset = publish(store, tmp_path, rows)
    uri = validate(store, dataset, ValidationSettings.model_validate(settings))
    names = ("train", "validation", "test")
    splits = {name: folders.read_table(uri, f"{name}.parquet") for name in names}
    return folders.existing(uri), splits


def finding(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [each for each in manifest["findings"] if each["name"] == name]
    return dict(found)


def test_rows_sorted_by_label_still_give_every_split_every_class(
    store: str, tmp_path: Path
) -> None:
    rows = sorted(clean(), key=lambda row: str(row[1]))
    manifest, splits = run(store, tmp_path, rows)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }
    for part in splits.values():
        assert part["label"].value_counts(normalize=True)["a"] == pytest.approx(0.5)
    assert [each["name"] for each in manifest["findings"]] == ["sorted_by_label"]
    assert finding(manifest, "sorted_by_label")["rows"] == ["d.csv:101"]


def test_no_row_is_in_two_splits_and_none_is_lost(store: str, tmp_path: Path) -> None:
    _, splits = run(store, tmp_path, clean())
    rows = [row for part in splits.values() for row in part["row"]]
    assert sorted(rows) == list(range(1, 201))


@pytest.mark.parametrize("before", [1000, 1001, 970, 1400])
def test_a_text_is_not_moved_from_training_to_test_when_others_come_or_go(
    before: int, store: str, tmp_path: Path
) -> None:
    rows = clean(1400)
    _, was = run(store, tmp_path, rows[:before])
    _, now = run(store, tmp_path, rows[:1001] if before != 1001 else rows[:1000])
    old, new = ({name: set(part["text"]) for name, part in cut.items()} for cut in (was, now))
    assert not old["train"] & new["test"]
    assert not old["test"] & new["train"]
    assert len(old["test"] & new["test"]) > 0.8 * min(len(old["test"]), len(new["test"]))
    _, other = run(store, tmp_path, rows[:before], splits={"seed": 43})
    assert len(set(other["test"]["text"]) & old["test"]) < 0.3 * len(old["test"])


def test_missing_duplicate_and_conflicting_rows_are_dropped_and_named(
    store: str, tmp_path: Path
) -> None:
    bad: Rows = [
        (None, "a", None),
        ("  ", "b", None),
        ("no label", None, None),
        (f"  {text(4).upper()} ", clean()[4][1], None),
        ("both", "a", None),
        ("Ｂoth", "b", None),
    ]
    manifest, splits = run(store, tmp_path, [*clean(), *bad])
    assert finding(manifest, "missing_text")["rows"] == ["d.csv:201", "d.csv:202"]
    assert finding(manifest, "missing_label")["rows"] == ["d.csv:203"]
    assert finding(manifest, "duplicates")["rows"] == ["d.csv:204"]
    assert finding(manifest, "conflicts")["rows"] == ["d.csv:205", "d.csv:206"]
    assert sum(len(part) for part in splits.values()) == 200


def test_a_rule_may_warn_or_fail_instead(store: str, tmp_path: Path) -> None:
    rows: Rows = [*clean(), clean()[0]]
    manifest, splits = run(store, tmp_path, rows, duplicates="warn")
    assert finding(manifest, "duplicates")["action"] == "kept"
    assert sum(len(part) for part in splits.values()) == 201
    with pytest.raises(InputError, match=r"d\.csv:201.*validation\.duplicates to another"):
        run(store, tmp_path, rows, duplicates="fail")


def test_given_splits_stay_and_leaked_training_rows_leave(store: str, tmp_path: Path) -> None:
    rows = [*clean(100, "train"), *((each, label, "test") for each, label, _ in clean(100)[:10])]
    manifest, splits = run(store, tmp_path, rows)
    assert finding(manifest, "leakage")["count"] == 10
    assert sorted(splits["test"]["row"]) == list(range(101, 111))
    assert len(splits["train"]) + len(splits["validation"]) == 90


def test_odd_texts_are_told_and_dropped_where_the_rule_says_so(store: str, tmp_path: Path) -> None:
    odd: Rows = [("bad \ufffd here", "a", None), ("x", "b", None), ("Это другой язык", "a", None)]
    odd.append((clean()[0][0] + "!", clean()[0][1], None))
    manifest, splits = run(store, tmp_path, [*clean(), *odd])
    assert finding(manifest, "broken_text")["rows"] == ["d.csv:201"]
    assert finding(manifest, "short_text")["rows"] == ["d.csv:202"]
    assert finding(manifest, "foreign_script")["rows"] == ["d.csv:203"]
    assert finding(manifest, "near_duplicates")["rows"] == ["d.csv:204"]
    together = [{1, 204} <= set(part["row"]) for part in splits.values()]
    assert sorted(together) == [False, False, True]
    rules = dict.fromkeys(("broken_text", "short_text", "foreign_script"), "repair")
    manifest, splits = run(store, tmp_path, [*clean(), *odd], **rules)
    assert sum(len(part) for part in splits.values()) == 201
    uri = f"{store}/validated/{manifest['fingerprint']}"
    assert folders.read_table(uri, "findings.parquet")["row"].tolist() == [201, 202, 203, 204]
    assert b"d.csv:203" in (storage.read_bytes(f"{uri}/report.html") or b"")


def test_training_texts_that_are_nearly_test_texts_leave(store: str, tmp_path: Path) -> None:
    rows: Rows = [*clean(100, "train"), *((f"{t}.", a, "test") for t, a, _ in clean(100)[:10])]
    rows[10:10] = [(f"{t}!!", a, "validation") for t, a, _ in clean(100)[20:30]]
    manifest, splits = run(store, tmp_path, rows)
    assert finding(manifest, "near_leakage")["count"] == 20
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }


def test_all_rules_that_fail_are_told_at_once(store: str, tmp_path: Path) -> None:
    rows: Rows = [*clean(), clean()[0], ("x", "a", None), *[(text(n), "c", None) for n in (900,)]]
    rules = dict.fromkeys(("duplicates", "short_text", "imbalance"), "fail")
    with pytest.raises(InputError) as error:
        run(store, tmp_path, rows, **rules)
    for told in ("d.csv:201", "d.csv:202", "the rarest label, c", "validation.imbalance"):
        assert told in str(error.value)
    assert storage.list_keys(f"{store}/validated") == []


def test_labels_keep_the_order_that_the_source_gives(store: str, tmp_path: Path) -> None:
    dataset = publish(store, tmp_path, clean(), labels=["b", "a", "unused"])
    uri = validate(store, dataset, ValidationSettings())
    assert folders.existing(uri)["labels"] == ["b", "a"]


def test_the_same_rows_and_rules_are_validated_once(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = publish(store, tmp_path, clean())
    first = validate(store, dataset, ValidationSettings())
    assert validate(store, dataset, ValidationSettings()) == first
    assert "cached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(None, "a", None)], "no usable rows"),
        ([(f"t{n}", "a", None) for n in range(50)], r"fewer than two classes \(found: a\)"),
        ([*clean(), ("once", "rare", None)], r"class\(es\) rare have too few rows"),
        (
            [*clean(100, "train"), ("new", "unseen", "test")],
            r"test split has the label\(s\) unseen that training never saw",
        ),
        (clean(100, "dev"), "split column names dev"),
        (clean(4), "too few"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_and_nothing_is_written(
    store: str, tmp_path: Path, rows: Rows, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        run(store, tmp_path, rows)
    assert storage.list_keys(f"{store}/validated") == []


def test_no_usable_row_is_told_where_rows_have_groups_too(store: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"row": range(8), "file": "d.csv", "text": "same", "split": None})
    frame["label"], frame["group"] = list("abababab"), "7"
    frame.to_parquet(tmp_path / "rows.parquet")
    folders.publish(tmp_path, f"{store}/datasets/g", {"fingerprint": "g"})
    with pytest.raises(InputError, match="no usable rows"):
        validate(store, f"{store}/datasets/g", ValidationSettings())


def test_large_groups_are_in_every_split_as_often_as_small_ones() -> None:
    rows = pd.DataFrame({"text": [text(n) for n in range(4000)], "label": ["a", "b"] * 2000})
    rows["split"] = None
    groups = pd.Series([n // 10 if n < 2000 else n for n in range(4000)])
    for seed in range(3):
        parts = cut(rows, SplitSettings(seed=seed), "single_label_classification", groups)
        for part in parts.values():
            assert 0.3 < (part.index < 2000).mean() < 0.7
