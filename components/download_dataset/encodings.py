"""Text encodings: the one a config names, and where a file does not follow it."""

import codecs
from pathlib import Path

from serving.errors import InputError


def codec(name: str) -> str:
    """Python's name of the encoding, which for UTF-8 drops a byte-order mark.

    Raises InputError when there is none.
    """
    try:
        found = codecs.lookup(name).name
    except LookupError as error:
        raise InputError(
            f"dataset.encoding {name!r} is unknown; utf-8 and gb18030 are usual."
        ) from error
    return "utf-8-sig" if found == "utf-8" else found


def not_encoded(path: Path, name: str) -> InputError:
    """The error that tells the first byte of the file which is not in the encoding."""
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return InputError(
                f"{path.name} is not {name}: it begins as UTF-16. Set dataset.encoding: utf-16."
            )
    decoder = codecs.getincrementaldecoder(codec(name))()
    offset, lines = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(1 << 20)
            held = decoder.getstate()[0]  # the start of a character whose rest is in this block
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = offset - len(held) + error.start
                lines += (held + block).count(b"\n", 0, error.start)
                return InputError(
                    f"{path.name} is not {name}: byte {at} (0x{error.object[error.start]:02x}, "
                    f"line {lines}) belongs to no character. Set dataset.encoding; Chinese files "
                    "are often gb18030, Western ones cp1252."
                )
            if not block:
                raise AssertionError("every byte of the file is in the encoding")
            offset += len(block)
            lines += block.count(b"\n")
