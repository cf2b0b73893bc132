"""One page of a list."""

from typing import Generic, TypeVar

import msgspec

Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item], kw_only=True, frozen=True):
    """A page: its `items`, and the cursor of the next one, None at the end."""

    next_cursor: str | None

    @property
    def items(self) -> list[Item]:
        """What the page lists, in order."""
        raise NotImplementedError
