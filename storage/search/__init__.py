"""Search over all tiers: candidates by index, their newest versions, and what truly matches."""
