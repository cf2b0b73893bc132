"""Part of the index of a thread, as Redis has it."""

from typing import NamedTuple

DISTRUST_MARK = "~"
"""Begins a floor above every id. What follows it is random, so a page that was read before an
invalidation can be told from one that was read after it."""


PageArguments = tuple[str, str, str, str, str, int]
"""User, thread, lowest and highest id, order and count of a page, as `RedisTier.page` has them."""


class HotPage(NamedTuple):
    """Part of a thread's index. `floor` and `watermark` are None where Redis has none; the record
    of an evicted message is None. `is_cut`: more of them would have been too many bytes."""

    floor: str | None
    watermark: str | None
    records: list[tuple[str, bytes | None]]
    is_cut: bool = False

    @property
    def is_distrusted(self) -> bool:
        """Whether the index was invalidated: then it is complete above no id."""
        return self.floor is not None and self.floor.startswith(DISTRUST_MARK)
