"""Erasing deleted and expired content from the tiers, as tasks."""

from celery import shared_task

from tasks.base import services


@shared_task(name="erase.erase_deleted_threads")
def erase_deleted_threads() -> dict[str, int]:
    """Turns the messages of deleted threads into tombstones, which replicate like any version."""
    return {"erased": services().jobs.erasure.erase_deleted_threads()}


@shared_task(name="erase.finish_user_erasures")
def finish_user_erasures() -> dict[str, int]:
    """Continues unfinished erasures of users, and checks again for messages that arrive late."""
    return {"looked_at": services().jobs.user_erasure.finish_due()}


@shared_task(name="erase.purge_deleted")
def purge_deleted() -> dict[str, int]:
    """Has ClickHouse delete what tombstones and deleted threads hide."""
    return services().jobs.physical_erasure.purge()._asdict()


@shared_task(name="erase.apply_retention")
def apply_retention() -> dict[str, object]:
    """Turns messages beyond their retention into tombstones."""
    return services().jobs.retention.apply()._asdict()
