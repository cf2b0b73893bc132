"""Checks a store of 258,145 messages, spoils some, and checks again."""
