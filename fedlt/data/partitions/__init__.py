"""How the training samples are dealt to the clients: the contract, the schemes, and the checks of what they deal."""
