"""What the server does, whatever the algorithm: the Flower ServerApp, the round loop, the grids."""
