"""One process put together: its connections, tiers, services and jobs."""
