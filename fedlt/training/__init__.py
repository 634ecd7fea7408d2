"""How one site trains: the parts of a run put together, the trainer, its steps, and several clients at once."""
