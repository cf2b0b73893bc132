"""API keys and revoked tokens: kept in PostgreSQL, known to every process within seconds."""
