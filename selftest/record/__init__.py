"""What they were told, and what was found out."""
