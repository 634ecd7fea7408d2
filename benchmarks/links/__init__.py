"""What links between clients and server cost."""
