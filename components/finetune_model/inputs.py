"""What a machine's first process fetches before training: tokens, base model, checkpoint."""

import argparse
import contextlib
import io
import os
import shutil
from pathlib import Path

import torch.distributed as dist

from components import folders
from components.console import say
from components.finetune_model.checkpoints import Checkpoint, fetch_newest
from components.finetune_model.hardware import computes_in_bf16
from components.finetune_model.job import FILE, Job
from serving.errors import InputError

STEP = "finetune_model"


def fetch_inputs(work: Path, job: Job) -> Checkpoint | None:
    """Fill the work folder; returns the checkpoint to go on from, the same on every process.

    Process 0 chooses the checkpoint, so that all machines go on from the same one. Its curves and
    best weights are put where the training goes on writing them. Raises InputError when it was
    written in another precision than this machine computes in.
    """
    first_here = int(os.environ["LOCAL_RANK"]) == 0
    if first_here:  # what processes that torchrun restarted have left
        for path in work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != FILE:
                path.unlink()
    chosen: list[Checkpoint | None] = [None]
    if dist.get_rank() == 0:
        chosen = [fetch_newest(job.checkpoints, work / "resume")]
    dist.broadcast_object_list(chosen, 0)
    [checkpoint] = chosen
    if checkpoint is not None:
        refuse_other_precision(checkpoint, computes_in_bf16(job.settings))
    if not first_here:
        return checkpoint
    if checkpoint is not None:
        folders.fetch(checkpoint.uri, work / "resume", checkpoint.manifest)
        for name in ("best", "training.jsonl"):
            if (work / "resume" / name).exists():
                (work / "resume" / name).rename(work / name)
        if dist.get_rank() == 0:
            say(STEP, f"going on from step {checkpoint.step}: {checkpoint.uri}")
        if checkpoint.processes != dist.get_world_size():
            convert(work / "resume", checkpoint.step)
    folders.fetch(job.tokenized, work / "tokenized")
    folders.fetch(job.base_model, work / "base-model")
    return checkpoint


def refuse_other_precision(checkpoint: Checkpoint, bf16: bool) -> None:
    """Raise InputError when `precision: auto` is not here what it was where training began."""
    names = {True: "bf16", False: "fp32"}
    before = checkpoint.manifest["bf16"]
    if before != bf16:
        raise InputError(
            f"training.precision is auto, which was {names[before]} for the checkpoint "
            f"{checkpoint.uri} and is {names[bf16]} on this machine. Run it where it began, or set "
            f"training.precision to {names[bf16]}, which begins anew."
        )


def convert(folder: Path, step: int) -> None:
    """Make a checkpoint's DeepSpeed files universal: readable by any number of processes.

    ZeRO-0 in fp32 has none that depend on the number; those stay as they are.
    """
    source = folder / f"global_step{step}"
    if not any(source.glob("*_optim_states.pt")):
        return
    from deepspeed.checkpoint.ds_to_universal import main

    with contextlib.redirect_stdout(io.StringIO()):
        main(
            argparse.Namespace(
                input_folder=str(source),
                output_folder=str(folder / f"global_step{step}_universal"),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )


def is_universal(folder: Path) -> bool:
    """True when `convert` made the checkpoint universal."""
    return (folder / "latest_universal").is_file()
