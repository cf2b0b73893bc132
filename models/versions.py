"""How versions of a record follow each other."""

VERSION_STEP = 1_000
"""A version written beside Redis leaves room for those that Redis may hold and nobody has seen."""


CONFLICT_ATTEMPTS = 100
"""At each attempt of everyone at least one succeeds, so this many writers all get through."""
