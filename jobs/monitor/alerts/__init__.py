"""What is wrong, since when, and who was notified."""
