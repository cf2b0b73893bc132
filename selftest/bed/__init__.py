"""The stack that is broken, and the network before it."""
