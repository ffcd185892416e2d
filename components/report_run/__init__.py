"""Draw one run as one self-contained page."""
