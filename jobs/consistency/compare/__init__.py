"""The copies of the tiers, held against each other."""
