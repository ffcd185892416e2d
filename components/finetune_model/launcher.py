"""torchrun, tied to the step that started it: `python -m ... PARENT_PID WORK_FOLDER PROCESSES`."""

import os
import sys

from components.finetune_model.lifetime import die_with


def main() -> None:
    """Start the processes of this machine and wait for them."""
    parent, work, processes = sys.argv[1:]
    die_with(int(parent))
    from torch.distributed.run import main as torchrun

    worker = ("-m", "components.finetune_model", work, "--parent", str(os.getpid()))
    torchrun(["--standalone", f"--nproc_per_node={processes}", *worker])


if __name__ == "__main__":
    main()
