"""What PostgreSQL refused, and what becomes of it."""
