"""Phrases that recur in many texts, such as a form's own words: they are no one's opinion."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.validate_dataset.texts import terms, without_numbers

TERMS = 8
"""Words (characters, in scripts without spaces) of the shortest phrase. Numbers count as one."""
SAMPLED = 20_000
PHRASES = 10
_FEWEST = 10

_Terms = tuple[str, ...]


@dataclass(frozen=True)
class Phrase:
    """A recurring phrase, numbers as 0, and which texts have it."""

    words: str
    texts: list[int]


def recurring(texts: Sequence[str], share: float) -> list[Phrase]:
    """The phrases that `share` of the normalized texts have, the most frequent first."""
    chosen = range(len(texts))
    if len(texts) > SAMPLED:
        chosen = sorted(random.Random(0).sample(chosen, SAMPLED))  # type: ignore[assignment] # a sequence of int either way
    rows = [_terms(texts[index]) for index in chosen]
    fewest = max(_FEWEST, share * len(rows))
    counts: Counter[_Terms] = Counter()
    for row in rows:
        counts.update({row[at : at + TERMS] for at in range(len(row) - TERMS + 1)})
    frequent = {gram for gram, count in counts.items() if count >= fewest}
    if not frequent:
        return []
    phrases = Counter(phrase for row in rows for phrase in set(_runs(row, frequent)))
    longest = [phrase for phrase, count in phrases.most_common(PHRASES) if count >= fewest]
    marked = ["\0".join(["", *_terms(text), ""]) for text in texts]
    found = []
    for phrase in longest:
        needle = "\0".join(["", *phrase, ""])
        holders = [index for index, text in enumerate(marked) if needle in text]
        words = "".join(phrase) if all(len(term) == 1 for term in phrase) else " ".join(phrase)
        found.append(Phrase(words, holders))
    return found


def _terms(text: str) -> _Terms:
    return tuple(terms(without_numbers(text)))


def _runs(row: _Terms, frequent: set[_Terms]) -> Iterator[_Terms]:
    """The longest stretches of a text in which every phrase of TERMS terms is frequent."""
    start = None
    for at in range(len(row) - TERMS + 2):
        hit = row[at : at + TERMS] in frequent
        if hit and start is None:
            start = at
        elif not hit and start is not None:
            yield row[start : at + TERMS - 1]
            start = None
