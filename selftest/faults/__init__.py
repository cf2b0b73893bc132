"""What is broken, and for how long."""
