"""Faults by their number. A package, so that its stacks end with it."""
