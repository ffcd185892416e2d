"""The dashboard's process in its image, which has no more libraries than it needs.

The command `finegate dashboard` is the same where all of finegate is installed.
"""

import argparse
import sys
from pathlib import Path

from pipelines.dashboard.command import serve
from serving.errors import InputError


def main() -> None:
    """Serve the pages of `--store`."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.dashboard")
    parser.add_argument("--store", required=True, help="s3://bucket/prefix")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8050)
    parser.add_argument("--endpoint", help="as http://{name}-predictor.NAMESPACE.svc")
    given = parser.parse_args()
    try:
        serve(Path(".finegate"), given.store, given.host, given.port, given.endpoint)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
