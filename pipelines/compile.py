"""The pipeline as KFP's IR YAML, which a cluster runs."""

from pathlib import Path

from kfp import compiler

from pipelines.train_and_promote import train_and_promote

COMPILED = Path(__file__).parent.parent / "compiled" / "train_and_promote.yaml"


def compile_pipeline(target: Path) -> None:
    """Write the IR YAML; the same code gives the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(train_and_promote, str(target))
