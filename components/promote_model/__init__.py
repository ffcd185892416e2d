"""Release what passed, write the promotion log, and move the endpoint."""
