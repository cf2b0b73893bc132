"""What leaves for good: deleted threads and messages, whole users, and what has had its time."""
