"""The clients that write and read meanwhile."""
