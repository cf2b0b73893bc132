"""Moves old messages out of PostgreSQL, once ClickHouse is proven to have every one of them."""
