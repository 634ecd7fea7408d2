"""Federated algorithms, one file each with both sides, named like the paper."""
