"""What each stage of a run made: when, how long it took, and how much a second."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One stage, from its manifest."""

    name: str
    at: str | None
    """When its result was made, UTC, ISO 8601: before this run where it was found done."""
    seconds: float | None
    amount: str
    rate: str


def stages(
    *,
    rows: dict[str, Any] | None,
    base: dict[str, Any] | None,
    dataset: dict[str, Any],
    tokens: dict[str, Any] | None,
    finetuned: dict[str, Any] | None,
    model: dict[str, Any],
    evaluation: dict[str, Any],
) -> list[Stage]:
    """The stages that left a manifest, in the order of the pipeline."""
    found = []

    def add(name: str, manifest: dict[str, Any] | None, count: float, unit: str) -> None:
        if manifest is None:
            return
        made = manifest.get("made", {})
        seconds = made.get("seconds")
        rate = f"{_short(count / seconds)} {unit}/s" if seconds and count else ""
        amount = f"{_short(count)} {unit}" if count else ""
        found.append(Stage(name, made.get("at"), seconds, amount, rate))

    add("download dataset", rows, (rows or {}).get("rows", 0), "rows")
    add("download model", base, _megabytes(base), "MB")
    add("validate", dataset, sum(s["rows"] for s in dataset["splits"].values()), "rows")
    splits = tokens["splits"].values() if tokens else []
    add("tokenize", tokens, sum(split["tokens"] for split in splits), "tokens")
    summary = model.get("summary")
    if summary:
        made = (finetuned or model).get("made", {})
        told = [
            f"{summary[key]:,.0f} {unit}/s"
            for key, unit in (("rows_per_second", "rows"), ("tokens_per_second", "tokens"))
            if key in summary
        ]
        if "mfu" in summary:
            told.append(f"{summary['mfu']:.1%} of the GPU's peak")
        amount = f"{summary['steps']:,} steps" if "steps" in summary else ""
        if "memory_gib" in summary:
            amount += f", {summary['memory_gib']:.1f} GiB a process"
        found.append(
            Stage("train", made.get("at"), summary["train_runtime"], amount, ", ".join(told))
        )
    if model.get("kind") == "exported-model":
        fastest = [
            f"{each['backend']} {each['texts_per_second']:,.0f} texts/s"
            for each in model["serving"].get("tried", [])
            if "texts_per_second" in each
        ]
        made = model.get("made", {})
        found.append(
            Stage(
                "export",
                made.get("at"),
                made.get("seconds"),
                f"serves with {model['serving']['backend']}",
                ", ".join(fastest),
            )
        )
    add("evaluate", evaluation, evaluation["metrics"]["rows"], "rows")
    return found


def _short(count: float) -> str:
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _megabytes(manifest: dict[str, Any] | None) -> float:
    return float(sum(file["size"] for file in (manifest or {}).get("files", []))) / 1e6
