"""Training as Prometheus sees it; tests/k8s/test_prometheus.py scrapes a real one."""

import socket
from pathlib import Path

import httpx
import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from components import processes
from components.finetune_model.exposition import Exposition
from components.finetune_model.settings import TrainingSettings


def begun(port: int, tmp_path: Path, *, first: bool = True) -> Exposition:
    """One that saw the first step and its point."""
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    state = TrainerState(max_steps=10, is_world_process_zero=first)
    exposition = Exposition(port, "abc")
    exposition.on_train_begin(arguments, state, TrainerControl())
    state.global_step = 1
    exposition.on_step_end(arguments, state, TrainerControl())
    logs = {"loss": 0.5, "memory_gib": 2.0, "epoch": 0.1}
    exposition.on_log(arguments, state, TrainerControl(), logs=logs)
    return exposition


def test_points_are_told_in_base_units_and_what_is_not_known_is_not(tmp_path: Path) -> None:
    [port] = processes.free_ports(1)
    begun(port, tmp_path)
    told = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    assert 'finegate_training_loss{training="abc"} 0.5' in told
    assert 'finegate_training_memory_bytes{training="abc"} 2.147483648e+09' in told
    assert 'finegate_training_step{training="abc"} 1.0' in told
    assert 'finegate_training_steps{training="abc"} 10.0' in told
    assert not [line for line in told if line.startswith("finegate_training_mfu_ratio{")]


def test_a_port_in_use_does_not_stop_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        begun(taken.getsockname()[1], tmp_path)
    assert "which cannot be had" in capsys.readouterr().out


def test_other_processes_than_the_first_open_no_port(tmp_path: Path) -> None:
    [port] = processes.free_ports(1)
    begun(port, tmp_path, first=False)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_who_watches_does_not_decide_the_result() -> None:
    assert TrainingSettings(metrics_port=9108).identity() == TrainingSettings().identity()
