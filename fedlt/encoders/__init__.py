"""Frozen encoders, one file each: what turns pictures into features before anything is trained."""
