"""Train, validation and test: as the source gives them, or cut from the training rows."""

from collections import Counter

import pandas as pd

from components.problem_types import REGRESSION
from components.texts import text_keys
from components.validate_dataset.labels import check_learnable, counts, strata
from components.validate_dataset.settings import SplitSettings
from serving.errors import InputError

SPLITS = ("train", "validation", "test")


def cut(
    rows: pd.DataFrame, settings: SplitSettings, problem_type: str, together: "pd.Series[int]"
) -> dict[str, pd.DataFrame]:
    """Rows by split. Rows without a split belong to `train`; what is absent is cut from there.

    `together` numbers the groups that no cut may part: the same hotel, near-duplicates. The cut
    keeps each label's share and depends on nothing but the texts and the seed. When other rows come
    or go a text stays where it is, or moves to the split beside it: from training to test it would
    flatter the champion, which learned from it. Only a text that joins its group, and sorts before
    all of them, can move them farther.

    Raises InputError when there is nothing to learn: no rows, a single class, a class too small to
    be in every split, or a label in validation or test that training never saw.
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
    check_learnable(train, problem_type)
    kinds = strata(train, problem_type)
    wanted = kinds.value_counts()
    parts = {"test": given.get("test"), "validation": given.get("validation")}
    places = _places(train, together, settings.seed)
    for name, fraction in (("test", settings.test), ("validation", settings.validation)):
        if parts[name] is None:
            counted = {str(kind): max(1, round(fraction * count)) for kind, count in wanted.items()}
            chosen = _draw(kinds.loc[train.index], together.loc[train.index], counted, name, places)
            parts[name], train = train[chosen], train[~chosen]
    result = {"train": train}
    for name in ("validation", "test"):
        part = parts[name]
        assert part is not None
        unseen = sorted(set(counts(part, problem_type)) - set(counts(train, problem_type)))
        if unseen and problem_type != REGRESSION:
            raise InputError(
                f"the {name} split has the label(s) {', '.join(unseen)} that training never saw. "
                f"Add training rows with them, or take them out of the {name} split."
            )
        result[name] = part
    return result


def _places(rows: pd.DataFrame, together: "pd.Series[int]", seed: int) -> "pd.Series[int]":
    """Where each group comes in the draw: by the hash of its first text, whatever other rows are.

    Of the hashes' range test has the beginning, validation what follows and training the rest. The
    least hash of the group's texts would be the less the more texts it has, and test would have
    the large groups. First is the text that sorts first.
    """
    firsts = text_keys(rows).groupby(together.loc[rows.index]).min()
    key = f"{seed % 10**16:016d}"
    hashes = pd.util.hash_array(firsts.to_numpy(object), hash_key=key)
    return pd.Series(hashes, index=firsts.index)


def _draw(
    kinds: "pd.Series[str]",
    together: "pd.Series[int]",
    wanted: dict[str, int],
    name: str,
    places: "pd.Series[int]",
) -> "pd.Series[bool]":
    """Whole groups by their places, each taken if no kind of its rows exceeds what is wanted.

    Where every row is a group of its own this is a stratified sample. Raises InputError where a
    kind cannot be both in the part and in the rest.
    """
    members: dict[int, Counter[str]] = {}
    for kind, group in zip(kinds, together, strict=True):
        members.setdefault(group, Counter())[kind] += 1
    left, taken = dict(wanted), set()
    for group in sorted(members, key=places.to_dict().__getitem__):
        if all(count <= left[kind] for kind, count in members[group].items()):
            taken.add(group)
            for kind, count in members[group].items():
                left[kind] -= count
    chosen = together.isin(taken)
    inside, outside = set(kinds[chosen]), set(kinds[~chosen])
    scarce = sorted(set(wanted) - (inside & outside))
    if scarce:
        raise InputError(
            f"the class(es) {', '.join(map(str, scarce))} have too few rows (or groups of rows "
            f"that belong together) to be in train and {name} both. Add rows, merge the class into "
            "another, leave it out, or give the splits yourself."
        )
    return chosen
