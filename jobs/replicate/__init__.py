"""PostgreSQL to ClickHouse, by way of the outbox."""
