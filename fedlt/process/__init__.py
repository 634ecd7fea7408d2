"""What a process sets for itself: threads, memory that goes back to the system, usage reports that stay off."""
