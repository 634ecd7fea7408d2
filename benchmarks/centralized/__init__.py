"""Centralized long-tail methods beside each other, on one split, one backbone and one budget."""
