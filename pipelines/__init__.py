"""What runs when: the pipeline, its configuration, and the ways to run it."""
