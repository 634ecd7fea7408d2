"""Methods for text on natural long tails, on the data sets' own splits."""
