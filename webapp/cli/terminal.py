"""Text for a terminal."""

TIERS = {"redis": "Redis", "postgresql": "PostgreSQL", "clickhouse": "ClickHouse"}
"""What people call the tiers."""


def plain(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
