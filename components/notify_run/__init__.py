"""Tell how a run ended."""
