"""FedLoGe held to its paper: forms of its losses, norms, features, the simplex."""
