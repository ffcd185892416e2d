"""Does the real predictor, in its own process, answer what the evaluation measured, in budget?"""

import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from components import answers, folders, predictor_process, processes
from components.console import Progress
from components.gate_model.settings import ServingCheck
from components.gate_model.verdict import Check

STEP = "gate_model"
UNRELEASED = "unreleased"
"""The version that the predictor tells for a folder without release.json."""


def serving_checks(model: str, evaluation: str, dataset: str, rule: ServingCheck) -> list[Check]:
    """Start the predictor on the candidate and send test rows that it answers, one by one.

    Returns a check each of the largest difference in probability, the p99 latency in ms and the
    peak of resident memory in MB.
    """
    with processes.unwound_by_signals(), tempfile.TemporaryDirectory() as scratch:
        folder, record = Path(scratch) / "model", Path(scratch) / "predictor.json"
        folders.fetch(model, folder, wanted=lambda path: path != "training.jsonl")
        expected = folders.read_table(evaluation, "predictions.parquet")
        texts = folders.read_table(dataset, "test.parquet")[~expected["refused"]]
        chosen = texts.sample(min(rule.rows, len(texts)), random_state=0).index
        [port] = processes.free_ports(1)
        pid = predictor_process.start(folder, "candidate", port, record)
        try:
            predictor_process.wait_for("candidate", port, record, UNRELEASED)
            differences, latencies = _compare(
                predictor_process.predict_url("candidate", port),
                texts.loc[chosen],
                expected.loc[chosen],
                folders.existing(evaluation)["labels"],
            )
            memory = _peak_memory(pid)
        finally:
            processes.stop(record)
    worst, p99 = max(differences), float(np.percentile(latencies, 99))
    return [
        Check.of(
            "served probabilities, largest difference",
            worst,
            "<=",
            rule.tolerance,
            f"the predictor's probabilities for {len(chosen)} test rows differ from the "
            f"evaluation's by {worst:.1e} at most",
        ),
        Check.of(
            "served latency p99, ms",
            p99,
            "<=",
            rule.p99_ms,
            f"the predictor answers single texts within {p99:.0f} ms (p99 of {len(chosen)})",
        ),
        Check.of(
            "served memory, MB",
            memory,
            "<=",
            rule.memory_mb,
            f"the predictor took {memory:.0f} MB of memory at most",
        ),
    ]


def _peak_memory(pid: int) -> float:
    """The most resident memory in MB that a process has had so far (VmHWM of proc(5), in kB)."""
    status = Path(f"/proc/{pid}/status").read_text()
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak) * 1024 / 1e6


def _compare(
    url: str, texts: pd.DataFrame, expected: pd.DataFrame, labels: list[str]
) -> tuple[list[float], list[float]]:
    differences, latencies = [], []
    progress = Progress(STEP, "asking the predictor, row", len(texts))
    with httpx.Client(timeout=60) as client:
        instances = [answers.instance(row) for row in texts.to_dict("records")]
        client.post(url, json={"instances": instances[:1]}).raise_for_status()  # warm-up
        for instance, wanted in zip(instances, expected["probabilities"], strict=True):
            began = time.perf_counter()
            answer = client.post(url, json={"instances": [instance]})
            latencies.append(1000 * (time.perf_counter() - began))
            answer.raise_for_status()
            found = answers.scores(answer.json())
            differences.append(answers.largest_difference(found, labels, wanted))
            progress.advance()
    return differences, latencies
