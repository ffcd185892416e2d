"""Two machines: two torchrun agents with a disk each, as a TrainJob's two nodes have."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from components import folders, processes, storage
from components.finetune_model.finetuning import plan
from components.finetune_model.job import Job
from components.finetune_model.settings import TrainingSettings
from tests.components.finetune_model.step_process import EVERY_STEP
from tests.components.finetune_model.test_finetuning import publish


def start(job: Job, folder: Path, port: int) -> list[subprocess.Popen[str]]:
    """An agent a machine, with the command and the argument that a TrainJob's pods get."""
    agents = []
    for machine in range(2):
        disk = folder / f"disk-{machine}"
        disk.mkdir(parents=True, exist_ok=True)
        agents.append(
            subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"),
                    *(f"--node_rank={machine}", "--master_addr=127.0.0.1"),
                    *(f"--master_port={port}", "-m", "components.finetune_model"),
                    *("--job", job.model_dump_json()),
                ],
                env={**os.environ, "TMPDIR": str(disk), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return agents


def test_a_checkpoint_of_two_machines_has_the_files_of_both_and_is_resumed(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    settings = {"epochs": 16, "learning_rate": 1e-3, "precision": "fp32", "zero_stage": 2}
    job = plan(
        store,
        *publish(store, tiny_model, tmp_path),
        TrainingSettings.model_validate({**settings, "checkpoint_minutes": EVERY_STEP}),
    )
    [port, again] = processes.free_ports(2)
    agents = start(job, tmp_path / "first", port)
    output = agents[0].stdout
    assert output is not None
    said = []
    for line in output:
        said.append(line)
        if "is on S3" in line:
            break
    assert "is on S3" in said[-1], said
    for agent in agents:
        for each in [*psutil.Process(agent.pid).children(recursive=True), agent]:
            each.kill()
        agent.communicate()
    names = storage.list_folders(job.checkpoints)
    manifests = [folders.manifest_of(f"{job.checkpoints}/{name}") for name in names]
    [complete] = [manifest for manifest in manifests if manifest is not None][-1:]
    files = {file["path"].rpartition("/")[2] for file in complete["files"]}
    assert {"rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= files
    assert {f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(2)} <= files

    agents = start(job, tmp_path / "second", again)
    outputs = [agent.communicate(timeout=240)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert "going on from step" in outputs[0]
    assert folders.existing(job.result)["processes"] == 2
    assert storage.list_keys(job.checkpoints) == []
