"""What a store holds, by kind: objects and bytes, for bills and for cleaning up."""

from collections import Counter
from dataclasses import dataclass

from components import storage


@dataclass(frozen=True)
class Usage:
    """What lies under one folder of the store."""

    folder: str
    objects: int
    bytes: int


def usage(store: str) -> list[Usage]:
    """The store's top folders, largest first. Versions and unfinished uploads are not counted."""
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for key, item in storage.list_objects(store):
        folder = key.partition("/")[0]
        objects[folder] += 1
        sizes[folder] += item["Size"]
    return [Usage(folder, objects[folder], size) for folder, size in sizes.most_common()]
