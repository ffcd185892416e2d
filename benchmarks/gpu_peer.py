"""The plain KServe model of benchmarks.peers on a GPU: `python -m benchmarks.gpu_peer FOLDER PORT`.

It computes in the precision that the folder's weights are saved in.
"""

import asyncio
import sys
from pathlib import Path

import torch

from benchmarks.peers import kserve_peer


def main() -> None:
    """Serve until killed."""
    folder, port = sys.argv[1:]
    asyncio.set_event_loop_policy(None)
    # Where transformers puts weights, and its tokenizers their tensors, when nobody says.
    torch.set_default_device("cuda")
    kserve_peer(Path(folder), int(port))


if __name__ == "__main__":
    main()
