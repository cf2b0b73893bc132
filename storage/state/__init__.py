"""States of sessions and of agent runs: versions, tiers, checkpoints."""
