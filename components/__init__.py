"""The pipeline's steps, one folder each; they meet only in files on S3."""
