"""What a run keeps on disk so that it can go on: checkpoints, the clients' states, the kept end, locks."""
