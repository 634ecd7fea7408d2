"""Who trains in a round: the contract of selections, those that come along, and the checks of what they choose."""
