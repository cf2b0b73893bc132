"""PostgreSQL: engines, driver, reads, writes, partitions, locks, keys."""
