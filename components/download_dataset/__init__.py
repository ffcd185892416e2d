"""Bring a labelled text dataset to S3, whatever its source and format."""
