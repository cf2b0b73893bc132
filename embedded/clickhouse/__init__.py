"""ClickHouse without a server of its own: chDB behind the HTTP interface."""
