"""The clients that write and read during the faults."""
