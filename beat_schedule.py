"""The whole schedule of beat, as data: name, task, when, and why then.

No message needs beat to arrive: workers poll the log and the outbox by themselves. These entries
do that a second time from outside, and run what is due by the clock.
An interval starts over whenever beat restarts, so anything rarer than a minute is a crontab.
Every entry expires before its next run, so a queue that was stalled does not run it twice.
"""

from celery.schedules import crontab

SCHEDULE = {
    # In case the polling threads of every worker are stuck.
    "sweep-pending-log": {
        "task": "persist.sweep",
        "schedule": 15.0,
        "options": {"expires": 14, "queue": "persist"},
    },
    # Likewise for the outbox.
    "ship-outbox": {
        "task": "replicate.ship_outbox",
        "schedule": 30.0,
        "options": {"expires": 25, "queue": "replicate"},
    },
    # Likewise for writes to PostgreSQL or ClickHouse while the faster tiers were down.
    "backfill-redis": {
        "task": "recover.backfill_redis",
        "schedule": 30.0,
        "options": {"expires": 25, "queue": "replicate"},
    },
    "bring-home-from-clickhouse": {
        "task": "recover.replay",
        "schedule": 30.0,
        "options": {"expires": 25, "queue": "replicate"},
    },
    # Web processes and workers evaluate by themselves; this is in case their threads are stuck.
    "evaluate-alerts": {
        "task": "alerts.evaluate",
        "schedule": 15.0,
        "options": {"expires": 14, "queue": "maintenance"},
    },
    # Deleted threads are hidden at once; this removes their content from the tiers.
    "erase-deleted-threads": {
        "task": "erase.erase_deleted_threads",
        "schedule": 30.0,
        "options": {"expires": 25, "queue": "maintenance"},
    },
    # The doctor's checks: a new problem is logged once.
    "look-after-everything": {
        "task": "maintain.look_after",
        "schedule": 60.0,
        "options": {"expires": 50, "queue": "maintenance"},
    },
    # A cached list lasts ten minutes at most, and until its user writes.
    "warm-lists-of-threads": {
        "task": "threads.warm_lists",
        "schedule": 60.0,
        "options": {"expires": 50, "queue": "maintenance"},
    },
    # A crash at the wrong moment leaves a copy that Redis may never evict; rare, so hourly.
    "mend-lifetimes": {
        "task": "maintain.mend_lifetimes",
        "schedule": crontab(minute="47"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # A partition becomes old once a week, and its grace ends a day later. At night in Europe, off
    # the full hour; the next run continues one that a silent tier interrupts.
    "archive-old-partitions": {
        "task": "archive.archive_partition",
        "schedule": crontab(hour="2", minute="47"),
        "options": {"expires": 14_400, "queue": "maintenance"},
    },
    # An erasure runs at once where it is requested; this continues those that a tier interrupted.
    "finish-user-erasures": {
        "task": "erase.finish_user_erasures",
        "schedule": 30.0,
        "options": {"expires": 25, "queue": "maintenance"},
    },
    # Each mutation rewrites parts, so not more often. Off the full hour.
    "purge-deleted": {
        "task": "erase.purge_deleted",
        "schedule": crontab(minute="47"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # Retention is counted in days, so once a day is enough; at night, when traffic is low.
    "apply-retention": {
        "task": "erase.apply_retention",
        "schedule": crontab(minute="27", hour="3"),
        "options": {"expires": 36000, "queue": "maintenance"},
    },
    # Keys are kept for a day; an hour more or less does not matter. Off the full hour.
    "forget-idempotency-keys": {
        "task": "maintain.forget_idempotency_keys",
        "schedule": crontab(minute="37"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # Expired states are hidden at once, so an hour more or less does not matter.
    "forget-expired-states": {
        "task": "maintain.forget_expired_states",
        "schedule": crontab(minute="57"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # What is kept elsewhere proves what was there an hour ago. Off the full hour.
    "send-heads": {
        "task": "maintain.send_heads",
        "schedule": crontab(minute="17"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # At night, when traffic is lowest; off the full hour, and after the archive.
    "check-consistency": {
        "task": "consistency.check",
        "schedule": crontab(minute="43", hour="4"),
        "options": {"expires": 3600, "queue": "maintenance"},
    },
    # Four weeks ahead leave time to notice a failure. Off the full hour.
    "make-partitions-ahead": {
        "task": "maintain.make_partitions",
        "schedule": crontab(minute="17"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
}
