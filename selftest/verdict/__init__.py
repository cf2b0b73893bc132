"""Whether the store kept its word."""
