"""Image names, one a kind of work. Tags are immutable: KFP's cache key is the image string."""

DATA_IMAGE = "finegate/data:0.1.0"
TRAINER_IMAGE = "finegate/trainer:0.1.0"
PREDICTOR_IMAGE = "finegate/predictor:0.1.0"
DASHBOARD_IMAGE = "finegate/dashboard:0.1.0"
