"""Names of labels, in one spelling wherever they are given."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator


def one_spelling(name: str) -> str:
    """Unicode NFC: an accent and its letter are one name, however a file or a config writes it."""
    return unicodedata.normalize("NFC", name)


LabelName = Annotated[str, AfterValidator(one_spelling)]
