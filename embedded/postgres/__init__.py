"""PostgreSQL from a wheel, with roles that may do no more than they need."""
