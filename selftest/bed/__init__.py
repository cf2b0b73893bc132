"""The stack under test, and the network in front of it."""
