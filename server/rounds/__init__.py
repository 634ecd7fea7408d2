"""What happens in a round: who trains what, what comes back, who is late, when the run stops."""
