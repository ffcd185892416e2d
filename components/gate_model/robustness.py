"""Metamorphic rules: texts rewritten without a change of meaning must keep their label.

After Ribeiro et al. 2020, https://aclanthology.org/2020.acl-main.442 (invariance tests).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from components.console import say
from components.gate_model.settings import Robustness
from components.gate_model.verdict import Check
from serving.classifier import Classifier

STEP = "gate_model"
STOPS = "。.!！?？"
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}


def spaces(text: str) -> str:
    """Twice as many, and some around."""
    return f"  {text.replace(' ', '  ')} "


def punctuation(text: str) -> str:
    """A full stop more, or the last one taken away."""
    bare = text.rstrip(STOPS)
    return bare if bare and bare != text else text + ("。" if not text.isascii() else ".")


def case(text: str) -> str:
    """Lower case."""
    return text.lower()


def full_width(text: str) -> str:
    """ASCII in its full-width forms (Unicode U+FF01 to U+FF5E; the space is U+3000)."""
    return text.translate(_FULL_WIDTH)


REWRITES: dict[str, Callable[[str], str]] = {
    "spaces": spaces,
    "punctuation": punctuation,
    "case": case,
    "full_width": full_width,
}


def robustness_checks(model: Path, rows: pd.DataFrame, rule: Robustness) -> list[Check]:
    """One check for each rewriting: the share of rows whose label it changes.

    `model` is a Hugging Face folder, `rows` are test rows, of which a seeded sample is taken.
    Rows that a rewriting leaves as they are count as unchanged.
    """
    chosen = rows.sample(min(rule.rows, len(rows)), random_state=0)
    classifier = Classifier.load(model)
    texts = chosen["text"].tolist()
    pairs = chosen["text_pair"].tolist() if "text_pair" in chosen else None
    before = _answers(classifier, texts, pairs)
    checks = []
    for name in rule.rules:
        rewrite = REWRITES[name]
        changed = [rewrite(text) for text in texts]
        after = _answers(classifier, changed, pairs and [rewrite(text) for text in pairs])
        flipped = np.flatnonzero((before != after).any(axis=1))
        share = len(flipped) / len(texts)
        say(STEP, f"rewriting {name}: {len(flipped)} of {len(texts)} labels change")
        checks.append(
            Check.of(
                f"labels changed by {name.replace('_', ' ')}",
                share,
                "<=",
                rule.flips,
                f"rewriting {name.replace('_', ' ')} changes the label of {len(flipped)} of "
                f"{len(texts)} rows",
            )
        )
    return checks


def _answers(
    classifier: Classifier, texts: Sequence[str], pairs: Sequence[str] | None
) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    """The labels that are answered, bool [N, C]."""
    probabilities = classifier.classify(texts, pairs)
    if classifier.problem_type == "multi_label_classification":
        return probabilities >= 0.5
    best: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = probabilities.argmax(axis=1)[
        :, None
    ] == np.arange(probabilities.shape[1])
    return best
