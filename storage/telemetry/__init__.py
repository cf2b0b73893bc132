"""What is counted, timed and traced, written by everyone."""
