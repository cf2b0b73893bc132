"""The faults, and how long each lasts."""
