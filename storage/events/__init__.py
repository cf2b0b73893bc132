"""What those who listen to a user are told."""
