"""Inputs by chance, the same for the same seed: files that were good once, and entries that nearly are jobs."""
