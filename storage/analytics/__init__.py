"""Figures of messages: counted in ClickHouse, for one user or for all."""
