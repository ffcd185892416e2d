"""S3 transfers and tokenization, each against its peer.

python -m benchmarks.data [transfers] [tokenization] [--json FILE]
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.results import Rows, Target, finish, show
from benchmarks.tokenization import tokenization
from benchmarks.transfers import transfers

PARTS = {"transfers": transfers, "tokenization": tokenization}


def main() -> None:
    """Run the chosen parts and print a table and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows: Rows = []
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="finegate-benchmark-") as folder:
        for part in chosen.parts:
            PARTS[part](Path(folder), rows, targets)
    show(rows)
    finish(rows, targets, chosen.json)


if __name__ == "__main__":
    main()
