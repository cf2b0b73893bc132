"""May a tier be believed? Probes, leases, notices, drills and safety checks."""
