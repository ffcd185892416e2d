"""The pipeline: data and base model in, a champion that answers out, if the gate lets it."""

from kfp import dsl

from components.download_dataset.component import download_dataset
from components.download_model.component import download_model
from components.evaluate_model.component import evaluate_model
from components.finetune_model.component import finetune_model
from components.gate_model.component import gate_model
from components.promote_model.component import promote_model
from components.report_run.component import report_run
from components.tokenize_dataset.component import tokenize_dataset
from components.validate_dataset.component import validate_dataset


@dsl.pipeline(
    name="finegate-train-and-promote",
    description="Download, validate, tokenize, fine-tune, evaluate, gate; promote what passes.",
)
def train_and_promote(
    store: str,
    name: str,
    dataset: dict,
    base_model: dict,
    validation: dict = {},  # noqa: B006 - kfp reads defaults, it does not share them
    tokenization: dict = {},  # noqa: B006
    training: dict = {},  # noqa: B006
    gate: dict = {},  # noqa: B006
    promotion: dict = {},  # noqa: B006
    run: str = "",
) -> str:
    """Train a candidate and promote it if it passes.

    Args:
        store: S3 address under which everything lies.
        name: Name of the model and its endpoint.
        dataset: DatasetSettings.
        base_model: ModelSettings.
        validation: ValidationSettings.
        tokenization: TokenizationSettings.
        training: TrainingSettings.
        gate: GateSettings.
        promotion: PromotionSettings.
        run: Id of the run; empty takes the KFP run's own.

    Returns:
        accepted, rejected or unchanged.
    """
    rows = download_dataset(store=store, settings=dataset)
    model = download_model(store=store, settings=base_model)
    # It looks at who the champion is, which is no input of it; its own cache is on S3.
    validated = validate_dataset(
        store=store, dataset=rows.output, name=name, settings=validation
    ).set_caching_options(False)
    texts = validated.outputs["dataset"]
    tokens = tokenize_dataset(
        store=store, dataset=texts, base_model=model.output, settings=tokenization
    )
    candidate = finetune_model(
        store=store, tokenized=tokens.output, base_model=model.output, settings=training
    )
    # KFP fills this in where it is a task's own constant, not in a parameter's default.
    job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    # These depend on who the champion is, which is no input of theirs: KFP may not reuse them.
    evaluation = evaluate_model(
        store=store, model=candidate.output, dataset=texts, name=name
    ).set_caching_options(False)
    verdict = gate_model(
        store=store,
        name=name,
        run=run,
        job=job,
        model=candidate.output,
        dataset=texts,
        evaluation=evaluation.outputs["candidate"],
        champion_evaluation=evaluation.outputs["champion"],
        settings=gate,
    ).set_caching_options(False)
    decision = verdict.outputs["Output"]
    report_run(
        store=store,
        run=run,
        job=job,
        dataset=texts,
        drift=validated.outputs["drift"],
        decision=decision,
    ).set_caching_options(False)
    with dsl.If(decision != "rejected", name="unless-rejected"):
        promote_model(
            store=store, name=name, run=run, job=job, settings=promotion
        ).set_caching_options(False)
    return decision  # type: ignore[no-any-return]
