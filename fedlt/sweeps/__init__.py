"""Runs: one of them from Python (`run`), and all those of a grid from one command."""
