"""What is broken, and how long it takes."""
