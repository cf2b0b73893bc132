"""What was deleted leaves the tiers, as a task."""

from celery import shared_task

from tasks.base import services


@shared_task(name="erase.erase_deleted_threads")
def erase_deleted_threads() -> dict[str, int]:
    """Turns the messages of deleted threads into tombstones, which replicate like any version."""
    return {"erased": services().erasure.erase_deleted_threads()}
