"""What a verification has walked, and what is wrong."""

import msgspec

from jobs.verify.thread_check import Flaw, ThreadEvidence

MOST_NAMED = 1_000


class VerificationReport(msgspec.Struct, kw_only=True):
    """Counts of what was walked, of heads kept elsewhere that it was compared with, and of flaws,
    of which at most `MOST_NAMED` are named. Of links that are `forgotten` the text was purged."""

    threads: int = 0
    links: int = 0
    forgotten: int = 0
    messages: int = 0
    kept_heads: int = 0
    flaws: int = 0
    named: list[Flaw] = []

    def walked(self, given: ThreadEvidence) -> None:
        """Counts a thread."""
        self.threads += 1
        self.links += len(given.links)
        self.forgotten += sum(link.is_forgotten for link in given.links)
        self.messages += len({copy.message_id for copy in given.copies})

    def found(self, flaws: list[Flaw]) -> None:
        """Counts and names flaws."""
        self.flaws += len(flaws)
        self.named += flaws[: max(0, MOST_NAMED - len(self.named))]
