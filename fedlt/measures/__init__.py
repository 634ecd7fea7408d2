"""How models are tested, and the statistics of a test that add up over clients."""
