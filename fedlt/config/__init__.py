"""A scenario: its schema, its file, the catalogue of components, and how many rounds of it anything has asked for."""
