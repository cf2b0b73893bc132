"""A user's threads: the list, its cached pages, and what is not committed yet."""
