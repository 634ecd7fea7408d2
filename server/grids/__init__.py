"""Grids that carry the same messages: this process, forked processes, Ray's actors, Flower's own runtime."""
