"""A tracking server that follows runs and promotions; nothing here depends on it."""
