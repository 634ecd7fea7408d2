"""What only the command line needs: the commands that `fedlt.commands.cli` does not hold itself, and what they list."""
