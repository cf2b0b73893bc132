"""Commands that run a job now."""
