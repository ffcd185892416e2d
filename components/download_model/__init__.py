"""Bring a pretrained encoder, or the plan of a new one, to S3."""
