"""Search over all tiers: candidates by index, the newest versions of them, and what truly matches."""
