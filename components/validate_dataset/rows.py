"""The rules for rows, in order: what is unusable, what is odd, what is there twice or leaks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from components.findings import Ledger, Rule
from components.problem_types import SINGLE
from components.texts import text_keys
from components.validate_dataset.boilerplate import recurring
from components.validate_dataset.labels import counts, label_keys
from components.validate_dataset.near_duplicates import near_duplicate_groups
from components.validate_dataset.settings import ValidationSettings
from components.validate_dataset.texts import BROKEN, bare, script

LARGEST_GROUP, LARGEST_SHARE = 10, 0.01
"""More near-duplicates than both are texts from one template; no split could hold them."""
_RANKS = {"train": 0, "validation": 1, "test": 2}
"""A text belongs to the highest split that has it, and leaks where it is in a lower one too."""


class Repair:
    """Applies the rules to one dataset's rows; `rows` are those that stay."""

    def __init__(
        self, rows: pd.DataFrame, settings: ValidationSettings, problem_type: str, ledger: Ledger
    ) -> None:
        """`rows` has row, file, text, text_pair (pairs), label, split and group (where named)."""
        self.rows = rows.reset_index(drop=True)
        self._settings, self._kind, self._ledger = settings, problem_type, ledger

    def run(self) -> "pd.Series[int]":
        """Apply every rule; returns the number of the group that each remaining row belongs to,
        whose rows must stay in one split."""
        self._unusable()
        keys = text_keys(self.rows)
        self._order()
        self._odd(keys)
        keys = keys.loc[self.rows.index]
        self._repeated(keys)
        keys = keys.loc[self.rows.index]
        return self._nearly_repeated(keys)

    def _apply(
        self,
        name: str,
        sentence: str,
        bad: "pd.Series[bool]",
        rule: Rule,
        detail: dict[str, Any] | None = None,
    ) -> None:
        places = _places(self.rows[bad])
        if self._ledger.record(name, sentence, rule, places, len(bad), detail=detail):
            self.rows = self.rows[~bad]

    def _unusable(self) -> None:
        empty = pd.Series(False, index=self.rows.index)
        for column in ("text", "text_pair"):
            if column in self.rows:
                values = self.rows[column]
                empty |= values.isna() | (values.str.strip() == "")
        self._apply("missing_text", "no text", empty, self._settings.missing_text)
        unlabelled = self.rows["label"].isna()
        self._apply("missing_label", "no label", unlabelled, self._settings.missing_label)

    def _order(self) -> None:
        if self._kind != SINGLE or len(self.rows) < 50:
            return
        labels = self.rows["label"]
        shares = labels.value_counts(normalize=True)
        expected = (len(labels) - 1) * (1 - float((shares**2).sum()))
        changes = (labels != labels.shift()) & (np.arange(len(labels)) > 0)
        if 0 < changes.sum() < expected / 10:
            self._ledger.record(
                "sorted_by_label",
                f"another label than the row before, where shuffled rows have {expected:.0f} (the "
                "file is sorted by label)",
                self._settings.sorted_by_label,
                _places(self.rows[changes]),
                len(labels),
                kept="splits are drawn at random",
            )
        sizes = counts(self.rows, self._kind)
        ratio = max(sizes.values()) / min(sizes.values())
        if ratio > self._settings.thresholds.imbalance:
            smallest = min(sizes, key=lambda name: (sizes[name], name))
            self._ledger.record(
                "imbalance",
                f"the rarest label, {smallest}: the most frequent has {ratio:.0f} times as many",
                self._settings.imbalance,
                _places(self.rows[labels == smallest]),
                len(labels),
            )

    def _odd(self, keys: "pd.Series[str]") -> None:
        settings, limits = self._settings, self._settings.thresholds
        broken = self.rows["text"].map(lambda text: BROKEN.search(text) is not None)
        self._apply(
            "broken_text",
            "control characters or U+FFFD in the text (a failed decoding)",
            broken.astype(bool),
            settings.broken_text,
        )
        keys = keys.loc[self.rows.index]
        short = keys.str.len() < limits.characters
        self._apply(
            "short_text", f"fewer than {limits.characters} characters", short, settings.short_text
        )
        scripts = self.rows["text"].map(script)
        shares = scripts.value_counts(normalize=True)
        foreign = set(shares[shares < limits.script].index)
        usual = ", ".join(sorted(set(shares.index) - foreign - {""})) or "any other"
        self._apply(
            "foreign_script",
            f"a text that is mainly in another script than {usual}, or in none",
            scripts.isin(foreign),
            settings.foreign_script,
        )
        keys = keys.loc[self.rows.index]
        if settings.boilerplate != "ignore":
            phrases = recurring(keys.tolist(), limits.boilerplate)
            holders = sorted({index for phrase in phrases for index in phrase.texts})
            self._ledger.record(
                "boilerplate",
                "a phrase that recurs",
                settings.boilerplate,
                _places(self.rows.iloc[holders]),
                len(self.rows),
                detail={"phrases": {p.words: len(p.texts) for p in phrases}},
            )

    def _repeated(self, keys: "pd.Series[str]") -> None:
        settings = self._settings
        labels = label_keys(self.rows, self._kind)
        conflicting = labels.groupby(keys).transform("nunique") > 1
        self._apply(
            "conflicts", "a text that also has another label", conflicting, settings.conflicts
        )
        kept = self.rows.index
        identity = pd.DataFrame(
            {"key": keys.loc[kept], "label": labels.loc[kept], "split": self.rows["split"]}
        )
        again = identity.duplicated(keep="first")
        copies = identity.groupby("key")["label"].transform("size")
        seen = float((1 - settings.splits.test ** (copies - 1)).mean())
        self._apply(
            "duplicates",
            "a text that came before with the same label",
            again,
            settings.duplicates,
            {"share of a random test split that training would have seen": round(seen, 4)},
        )
        self._apply(
            "leakage",
            "a text that is in the test split too (or, for training, in validation)",
            self._leaking(keys.loc[self.rows.index]),
            settings.leakage,
        )

    def _nearly_repeated(self, keys: "pd.Series[str]") -> "pd.Series[int]":
        settings = self._settings
        rules = {settings.near_leakage, settings.near_duplicates}
        if rules == {"ignore"} or self.rows.empty:
            return self._together(pd.Series(np.arange(len(self.rows)), index=self.rows.index))
        groups = pd.Series(
            near_duplicate_groups(keys.map(bare).tolist(), settings.thresholds.similarity),
            index=self.rows.index,
        )
        self._apply(
            "near_leakage",
            "a text that is nearly one of the test split (or, for training, of validation)",
            self._leaking(groups),
            settings.near_leakage,
        )
        groups = groups.loc[self.rows.index]
        again = groups.duplicated(keep="first")
        sizes = groups.groupby(groups).transform("size")
        template = sizes > max(LARGEST_GROUP, LARGEST_SHARE * len(groups))
        bound = self._ledger.record(
            "near_duplicates",
            "a text that is nearly one before it",
            settings.near_duplicates,
            _places(self.rows[again]),
            len(again),
            repaired="kept in one split with it",
            detail={"too many alike to be kept together": int(template.sum())},
        )
        alone = template if bound else pd.Series(True, index=groups.index)
        own = pd.Series(len(groups) + np.arange(len(groups)), index=groups.index)
        groups = groups.mask(alone, own)
        return self._together(groups)

    def _leaking(self, identity: "pd.Series[str] | pd.Series[int]") -> "pd.Series[bool]":
        ranks = self.rows["split"].fillna("train").map(_RANKS).fillna(0)
        return ranks < ranks.groupby(identity).transform("max")

    def _together(self, groups: "pd.Series[int]") -> "pd.Series[int]":
        """Near-duplicate groups joined with those of the `group` column."""
        if "group" not in self.rows:
            return groups
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        named, _ = pd.factorize(self.rows["group"])
        own = np.where(named < 0, named.max(initial=0) + 1 + np.arange(len(named)), named)
        near = groups.to_numpy() + own.max(initial=0) + 1
        size = int(near.max(initial=0)) + 1
        links = coo_array((np.ones(len(own)), (own, near)), shape=(size, size))
        _, joined = connected_components(links, directed=False)
        return pd.Series(joined[own], index=groups.index)


def _places(rows: pd.DataFrame) -> Iterator[tuple[str, int]]:
    return zip(rows["file"].tolist(), rows["row"].tolist(), strict=True)
