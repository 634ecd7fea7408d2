"""What several learners or strategies share: losses, priors, clusters, mixtures, heads."""
