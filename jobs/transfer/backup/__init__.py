"""Everything of all tiers as files, and back."""
