"""Proves that what is kept is what was written."""
