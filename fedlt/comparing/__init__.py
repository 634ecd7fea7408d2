"""Which runs belong together, what tells them apart, and tables of their differences."""
