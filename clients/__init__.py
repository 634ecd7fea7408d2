"""What a client process does, whatever the algorithm: the Flower ClientApp and the worker that hosts many clients."""
