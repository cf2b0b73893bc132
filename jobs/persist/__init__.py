"""The pending log to PostgreSQL, and what PostgreSQL refused."""
