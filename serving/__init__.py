"""The kernel: the one way from text to named probabilities."""
