"""A tier is brought up to date, or built again, from another."""
