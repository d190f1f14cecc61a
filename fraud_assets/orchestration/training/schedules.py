"""When models are trained without being asked."""

import dagster as dg

model_release = dg.define_asset_job(
    "model_release",
    selection=dg.AssetSelection.assets("training_set", "model", "evaluation", "release"),
    description="Training set, model, evaluation and, where the gate lets it, a release bundle.",
)

history_release = dg.define_asset_job(
    "history_release",
    selection=dg.AssetSelection.assets("features", "training_set", "model", "evaluation", "release"),
    description="Features of a range of days, then a model trained on them: the first run on a history.",
)

weekly_model = dg.ScheduleDefinition(
    name="weekly_model",
    cron_schedule="30 3 * * 1",
    job=model_release,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Mondays: a candidate model on what is known by then.",
)
