"""Every strategy on the same splits: the sweeps and the tables that come of them; see README.md."""
