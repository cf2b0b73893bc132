"""The tiers, one by one. A package, so that its servers end with it."""
