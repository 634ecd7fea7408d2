"""A study of eight methods, in fluke and as one `fedlt sweep`: how long it takes with equal steps on equal data."""
