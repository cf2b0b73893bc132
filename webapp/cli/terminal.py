"""Text for a terminal."""


def plain(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
