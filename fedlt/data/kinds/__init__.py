"""Kinds of targets, one file each."""
