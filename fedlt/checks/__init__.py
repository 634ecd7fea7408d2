"""Checks of people's own parts: strategies, learners, models and partitions, each against its contract."""
