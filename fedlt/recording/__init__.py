"""What writes and tells a run while it goes on: the tables of the run folder, and the progress on the console."""
