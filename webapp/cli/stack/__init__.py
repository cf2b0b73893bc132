"""A whole stack of one machine: start it, see it, read its logs, stop it."""
