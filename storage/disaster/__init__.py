"""A tier that was lost is made again from the others, and drills in which tiers seem lost."""
