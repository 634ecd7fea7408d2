"""What may happen to an update on its way from a client to the mean."""
