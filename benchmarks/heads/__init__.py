"""Heads and decoders on features: what their papers promise, and what they give on finished runs."""
