"""KFP ports of notify_run."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def notify_run(
    store: str,
    name: str,
    run: str,
    job: str,
    settings: dict,
    tracking: dict,
    status: dsl.PipelineTaskFinalStatus,
) -> None:
    """Tell how the run ended, whichever way it did.

    Args:
        store: S3 address under which everything lies.
        name: Name of the model.
        run: Id of the run, or '' for that of the KFP run.
        job: Id of the KFP run.
        settings: NotificationSettings.
        tracking: MlflowSettings, or {} where no tracking server follows.
        status: How the steps ended, from KFP.
    """
    from components.console import step
    from components.notify_run.notification import notify
    from components.notify_run.settings import NotificationSettings
    from components.tracking.mlflow import track
    from components.tracking.settings import MlflowSettings

    with step("notify_run"):
        notify(
            store,
            name,
            run or job,
            state=status.state,
            error=status.error_message or "",
            settings=NotificationSettings.model_validate(settings),
        )
        if tracking:
            track(store, name, run or job, MlflowSettings.model_validate(tracking))
