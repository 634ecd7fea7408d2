"""Adapters: few new parameters in a model whose others stay as they are. One kind a file."""
