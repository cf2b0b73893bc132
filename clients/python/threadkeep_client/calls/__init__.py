"""Each call of the HTTP API: what is sent, and what its answer is."""
