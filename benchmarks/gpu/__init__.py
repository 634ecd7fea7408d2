"""FedLT and a bare loop on one GPU, within a time budget: `python -m benchmarks.gpu`."""
