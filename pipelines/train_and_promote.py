"""The pipeline: data and base model in, a champion that answers out, if the gate lets it."""

from kfp import dsl

from components.download_dataset.component import download_dataset
from components.download_model.component import download_model
from components.evaluate_model.component import evaluate_model
from components.export_model.component import export_model
from components.finetune_model.component import finetune_model
from components.gate_model.component import gate_model
from components.notify_run.component import notify_run
from components.promote_model.component import promote_model
from components.report_run.component import report_run
from components.tokenize_dataset.component import tokenize_dataset
from components.validate_dataset.component import validate_dataset
from pipelines import pods


@dsl.pipeline(
    name="steps",
    description="Download, validate, tokenize, train, export, evaluate, gate; promote what passes.",
)
def steps(
    store: str,
    name: str,
    dataset: dict,
    base_model: dict,
    validation: dict = {},
    tokenization: dict = {},
    training: dict = {},
    export: dict = {},
    gate: dict = {},
    report: dict = {},
    promotion: dict = {},
    run: str = "",
    cpu: str = "4",
    memory: str = "16Gi",
    gpus: str = "0",
    serving_gpus: str = "0",
    node_selector: dict = {},
    tolerations: list = [],
) -> str:
    """Train a candidate and promote it if it passes; the arguments are train_and_promote's.

    Returns:
        accepted, rejected or unchanged.
    """
    rows = download_dataset(store=store, settings=dataset)
    model = download_model(store=store, settings=base_model)
    validated = validate_dataset(store=store, dataset=rows.output, name=name, settings=validation)
    texts = validated.outputs["dataset"]
    tokens = tokenize_dataset(
        store=store, dataset=texts, base_model=model.output, settings=tokenization
    )
    finetuned = finetune_model(
        store=store, tokenized=tokens.output, base_model=model.output, settings=training
    )
    # What is scored and judged from here on is the very folder that will be served.
    candidate = export_model(
        store=store, model=finetuned.outputs["Output"], dataset=texts, settings=export
    )
    # KFP fills this in where it is a task's own constant, not in a parameter's default.
    job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    evaluation = evaluate_model(store=store, model=candidate.output, dataset=texts, name=name)
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
    )
    decision = verdict.outputs["Output"]
    told = report_run(
        store=store,
        run=run,
        job=job,
        dataset=texts,
        drift=validated.outputs["drift"],
        decision=decision,
        settings=report,
    )
    with dsl.If(decision != "rejected", name="unless-rejected"):
        promoted = promote_model(store=store, name=name, run=run, job=job, settings=promotion)

    for task in (rows, model, validated, tokens, verdict, told, promoted):
        pods.light(task)
    for task in (finetuned, candidate, evaluation):
        pods.heavy(task, cpu=cpu, memory=memory)
    for task in (finetuned, candidate, evaluation, verdict):
        pods.on_nodes(task, node_selector, tolerations)
    for task in (candidate, evaluation, verdict):  # each runs the model as it will be served
        pods.with_gpus(task, serving_gpus)
    pods.with_gpus(finetuned, gpus)
    return decision  # type: ignore[no-any-return]  # kfp outputs are untyped


@dsl.pipeline(
    name="finegate-train-and-promote",
    description="Train a candidate, promote it if it passes the gate, and tell how it ended.",
)
def train_and_promote(
    store: str,
    name: str,
    dataset: dict,
    base_model: dict,
    validation: dict = {},
    tokenization: dict = {},
    training: dict = {},
    export: dict = {},
    gate: dict = {},
    report: dict = {},
    promotion: dict = {},
    notification: dict = {},
    tracking: dict = {},
    run: str = "",
    cpu: str = "4",
    memory: str = "16Gi",
    gpus: str = "0",
    serving_gpus: str = "0",
    node_selector: dict = {},
    tolerations: list = [],
) -> None:
    """Run the steps, and tell how they ended whichever way they did.

    Args:
        store: S3 address under which everything lies.
        name: Name of the model and its endpoint.
        dataset: DatasetSettings.
        base_model: ModelSettings.
        validation: ValidationSettings.
        tokenization: TokenizationSettings.
        training: TrainingSettings.
        export: ExportSettings.
        gate: GateSettings.
        report: ReportSettings.
        promotion: PromotionSettings.
        notification: NotificationSettings.
        tracking: MlflowSettings; empty tells no tracking server.
        run: Id of the run; empty takes the KFP run's own.
        cpu: Cores of each pod that trains or scores.
        memory: Memory of each of these pods.
        gpus: GPUs of the pod that trains.
        serving_gpus: GPUs of each pod that runs the exported model: 1 where export has device gpu.
        node_selector: Labels of the nodes for these pods.
        tolerations: Kubernetes tolerations of these pods.
    """
    job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    told = notify_run(
        store=store, name=name, run=run, job=job, settings=notification, tracking=tracking
    )
    with dsl.ExitHandler(pods.notifying(told), name="until-told"):
        # A pipeline of their own: an exit handler hands no resource parameters to tasks within it.
        steps(
            store=store,
            name=name,
            dataset=dataset,
            base_model=base_model,
            validation=validation,
            tokenization=tokenization,
            training=training,
            export=export,
            gate=gate,
            report=report,
            promotion=promotion,
            run=run,
            cpu=cpu,
            memory=memory,
            gpus=gpus,
            serving_gpus=serving_gpus,
            node_selector=node_selector,
            tolerations=tolerations,
        )
