"""Hydra configuration: one file a command, and groups of alternatives in folders."""
