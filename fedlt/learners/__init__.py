"""Local and centralized methods, one file each, named like the paper."""
