import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.progress import StepOutput

LINES = """\
Writing model shards: 100%
    finetune_model: training, step 5/20 (25 %), loss 0.612
    finetune_model: training, step 20/20 (100 %), loss 0.412
    evaluate_model: cached: s3://b/e (same model, same test rows)
    traceback | Traceback (most recent call last):
    error: gate_model: no such thing. Do this.
"""


def show(tmp_path: Path, *, terminal: bool, tracebacks: bool = False) -> tuple[str, StepOutput]:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=120, color_system=None)
    with StepOutput(tmp_path / "run.log", console, tracebacks=tracebacks) as output:
        output.write(LINES[:40])
        output.write(LINES[40:])
    return shown.getvalue(), output


def test_a_log_gets_the_steps_lines_and_not_the_libraries(tmp_path: Path) -> None:
    shown, output = show(tmp_path, terminal=False)
    assert shown.splitlines() == [
        "finetune_model: training, step 5/20 (25 %), loss 0.612",
        "finetune_model: training, step 20/20 (100 %), loss 0.412",
        "evaluate_model: cached: s3://b/e (same model, same test rows)",
    ]
    assert output.error == "gate_model: no such thing. Do this."
    assert "Writing model shards" in (tmp_path / "run.log").read_text()


def test_a_terminal_gets_one_bar_a_stage(tmp_path: Path) -> None:
    shown, _ = show(tmp_path, terminal=True)
    assert "━" in shown
    assert "20/20" in shown
    assert "(25 %)" not in shown


@pytest.mark.parametrize("asked", [False, True])
def test_tracebacks_are_shown_when_asked_for(tmp_path: Path, asked: bool) -> None:
    shown, _ = show(tmp_path, terminal=False, tracebacks=asked)
    assert ("Traceback" in shown) is asked
