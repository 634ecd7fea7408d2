"""What only the command line needs: the commands that `fedlt.cli` does not hold itself, and what they list."""
