"""Many runs from one command: their grid, the processes that share it, and what is shown meanwhile."""
