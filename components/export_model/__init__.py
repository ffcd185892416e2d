"""Chooses the backend that serves a model: the fastest that agrees with PyTorch."""
