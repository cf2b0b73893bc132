"""An import of what is hidden changes nothing, in Redis either."""

from collections.abc import Callable

from jobs.persist.drain import Drained
from jobs.transfer.bulk_import import BulkImporter
from support.data.samples import message
from support.faults.outages import post
from wiring.process import Services


def test_the_thread_that_was_begun_after_a_deletion_stays_listed(
    alone: Services, user: str, drain: Callable[[], Drained]
) -> None:
    old = message(user)
    post(alone, user, "before", "k")
    drain()
    alone.threads.delete(user, "t")
    drain()
    importer = BulkImporter(alone.tiers)
    assert [part.deleted for part in importer.run([old])] == [1]
    # The only message of the thread goes before anybody has persisted it.
    made = post(alone, user, "after", "l").message
    alone.messages.delete(user, made.id, if_version=None)
    assert alone.threads.get(user, "t").message_count == 0
