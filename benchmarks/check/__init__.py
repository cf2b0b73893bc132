"""Checks a store of 258,145 messages, damages some, and checks again."""
