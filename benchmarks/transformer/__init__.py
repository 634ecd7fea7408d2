"""Optimisers and rates for transformers."""
