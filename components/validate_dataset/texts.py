"""Texts as people read them: their words, their script."""

import re
import unicodedata
from collections import Counter
from functools import cache

# Scripts that are written without spaces: a character stands for itself.
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u3040-\u30ff"  # Hiragana, Katakana
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_TERM = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_DIGITS = re.compile(r"\d+")
_NOT_WORDS = re.compile(r"[\W_]+")
# Control characters that no writer types, and the sign of a decoding that failed.
BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")


def bare(text: str) -> str:
    """A normalized text without punctuation, by which near-duplicates are compared."""
    return _NOT_WORDS.sub(" ", text).strip()


def terms(text: str) -> list[str]:
    """Words of a normalized text; in scripts without spaces, its characters."""
    return _TERM.findall(text)


def without_numbers(text: str) -> str:
    """The text with each number as 0, so that dated boilerplate is one phrase."""
    return _DIGITS.sub("0", text)


@cache
def _script(character: str) -> str:
    """The first word of the character's Unicode name; Han, kana and half-widths count as one."""
    if not character.isalpha():
        return ""
    word = unicodedata.name(character, "UNKNOWN").split()[0].partition("-")[0]
    return {"HIRAGANA": "CJK", "KATAKANA": "CJK"}.get(word, word)


def script(text: str) -> str:
    """The script that most letters of the text are in (`CJK`, `LATIN`, ...); "" for no letters."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if name := _script(character):
            counts[name] += count
    return max(counts, key=lambda name: (counts[name], name)) if counts else ""
