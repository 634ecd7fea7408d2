"""What a process sets for itself: threads, memory, seeds, how it writes files, usage reports that stay off."""
