"""Train, validation and test: as the source gives them, or cut from the training rows."""

import pandas as pd
from sklearn.model_selection import train_test_split

from components.validate_dataset.settings import SplitSettings
from serving.errors import InputError

SPLITS = ("train", "validation", "test")


def cut(rows: pd.DataFrame, settings: SplitSettings) -> dict[str, pd.DataFrame]:
    """Rows by split. Rows without a split belong to `train`; what is absent is cut from there.

    The cut keeps each label's share and depends on nothing but the rows and the seed.
    Raises InputError when there is nothing to learn: no rows, a single class, a class too small
    to be in every split, or a label in validation or test that training never saw.
    """
    if rows.empty:
        raise InputError(
            "the dataset has no usable rows. Check the source, its text and label columns, and the "
            "validation rules that drop rows."
        )
    given = dict(iter(rows.groupby(rows["split"].fillna("train"))))
    unknown = sorted(set(map(str, given)) - set(SPLITS))
    if unknown:
        raise InputError(
            f"the split column names {', '.join(unknown)}; it may name {', '.join(SPLITS)}."
        )
    train = given.get("train", rows.iloc[:0])
    if train["label"].nunique() < 2:
        found = ", ".join(map(str, train["label"].unique())) or "none"
        raise InputError(
            f"the training rows have fewer than two classes (found: {found}). A classifier needs "
            "at least two; check the label column and how the rows were chosen."
        )
    total = len(train)
    parts = {"test": given.get("test"), "validation": given.get("validation")}
    for name, fraction in (("test", settings.test), ("validation", settings.validation)):
        if parts[name] is None:
            train, parts[name] = _stratified(train, name, round(total * fraction), settings.seed)
    result = {"train": train}
    for name in ("validation", "test"):
        part = parts[name]
        assert part is not None
        unseen = sorted(set(part["label"]) - set(train["label"]))
        if unseen:
            raise InputError(
                f"the {name} split has the label(s) {', '.join(unseen)} that training never saw. "
                f"Add training rows with them, or take them out of the {name} split."
            )
        result[name] = part
    return result


def _stratified(
    rows: pd.DataFrame, name: str, count: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    sizes = rows["label"].value_counts()
    small = sizes[sizes < 2]
    if len(small):
        raise InputError(
            f"the class(es) {', '.join(map(str, small.index))} have too few rows to be in train "
            f"and {name} both. Add rows, merge the class into another, or leave it out."
        )
    count = max(count, len(sizes))
    if len(rows) - count < len(sizes):
        raise InputError(
            f"{len(rows)} rows are too few to cut a {name} split with each of {len(sizes)} classes "
            "in it. Add rows, or give the splits yourself."
        )
    rest, part = train_test_split(rows, test_size=count, stratify=rows["label"], random_state=seed)
    return rest, part
