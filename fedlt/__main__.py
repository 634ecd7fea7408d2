"""`python -m fedlt`: the `fedlt` command without its script."""

from fedlt.commands.cli import main

if __name__ == "__main__":
    main()
