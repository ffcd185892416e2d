"""What makes two texts the same, for every step that asks."""

import unicodedata

import pandas as pd


def normalized(text: object) -> str:
    """Unicode NFKC, case folded, white space collapsed: equal means the same text."""
    return " ".join(unicodedata.normalize("NFKC", str(text)).casefold().split())


def text_keys(rows: pd.DataFrame) -> "pd.Series[str]":
    """A key for each row's text, and its pair's where there are pairs: equal means the same."""
    keys = rows["text"].map(normalized)
    if "text_pair" in rows:
        keys = keys + "\0" + rows["text_pair"].map(normalized)
    return keys
