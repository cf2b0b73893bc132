"""Do the tiers agree? What is compared, which copy is right, and how the others are repaired."""
