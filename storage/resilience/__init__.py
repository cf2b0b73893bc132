"""Deadlines, breakers, retries, and faults that are injected."""
