"""Which test rows are new to a model that learned from another dataset."""

import numpy as np
import numpy.typing as npt

from components import folders
from components.texts import text_keys


def held_out(dataset: str, learned: str) -> npt.NDArray[np.bool_]:
    """Of each test row of `dataset`, whether no row that the model learned from has its text.

    Both are S3 addresses of validated datasets; the model was trained and chosen on `learned`'s
    splits for that.
    """
    seen: set[str] = set()
    for split in ("train", "validation"):
        seen |= set(text_keys(folders.read_table(learned, f"{split}.parquet")))
    return ~text_keys(folders.read_table(dataset, "test.parquet")).isin(seen).to_numpy()
