"""Backbones, heads, and the flat layout in which parameters travel."""
