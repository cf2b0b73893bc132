"""Lists of threads are kept at hand for users who are active."""

from celery import shared_task

from tasks.base import services


@shared_task(name="threads.warm_lists")
def warm_lists() -> dict[str, int]:
    """Reads the first page of active users' threads where Redis has none that holds."""
    return {"warmed": services().thread_cache_manager.warm_active()}
