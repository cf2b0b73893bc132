"""ClickHouse: driver, reads, pages, fingerprints, mutations, keys."""
