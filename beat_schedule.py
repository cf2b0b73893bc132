"""The whole schedule of beat, as data: name, task, when, and why then.

Beat is never needed for a message to arrive: workers look at the log and the outbox by
themselves. What stands here repeats that from outside, and does what is due by the clock.
A seconds entry starts over whenever beat restarts, so anything rarer than a minute is a crontab.
Every entry expires before its next run, so a queue that stood still does not run it twice.
"""

from celery.schedules import crontab

SCHEDULE = {
    # A second pair of eyes on the log, should every worker's own look be stuck.
    "sweep-pending-log": {
        "task": "persist.sweep",
        "schedule": 5.0,
        "options": {"expires": 4, "queue": "persist"},
    },
    # Likewise for the outbox.
    "ship-outbox": {
        "task": "replicate.ship_outbox",
        "schedule": 10.0,
        "options": {"expires": 9, "queue": "replicate"},
    },
    # Likewise for what was written beside Redis, or straight to ClickHouse, during an outage.
    "backfill-redis": {
        "task": "recover.backfill_redis",
        "schedule": 15.0,
        "options": {"expires": 14, "queue": "replicate"},
    },
    "bring-home-from-clickhouse": {
        "task": "recover.replay",
        "schedule": 15.0,
        "options": {"expires": 14, "queue": "replicate"},
    },
    # Web processes and workers judge by themselves, every two seconds; this is for their threads.
    "evaluate-alerts": {
        "task": "alerts.evaluate",
        "schedule": 5.0,
        "options": {"expires": 4, "queue": "maintenance"},
    },
    # Threads that were deleted are hidden at once; this takes their content out of the tiers.
    "erase-deleted-threads": {
        "task": "erase.erase_deleted_threads",
        "schedule": 30.0,
        "options": {"expires": 25, "queue": "maintenance"},
    },
    # The doctor's round: what has come to need a person is logged once.
    "look-after-everything": {
        "task": "maintain.look_after",
        "schedule": 60.0,
        "options": {"expires": 50, "queue": "maintenance"},
    },
    # A list that was read lately stays warm for ten minutes at most, and until its user writes.
    "warm-lists-of-threads": {
        "task": "threads.warm_lists",
        "schedule": 60.0,
        "options": {"expires": 50, "queue": "maintenance"},
    },
    # A crash in the one wrong moment leaves a copy that Redis may never evict. Few, so seldom.
    "mend-lifetimes": {
        "task": "maintain.mend_lifetimes",
        "schedule": crontab(minute="47"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # A partition grows old once a week, and its grace ends a day later. At night in Europe, off the
    # full hour; a run that a silent tier stopped is gone on from by the next one.
    "archive-old-partitions": {
        "task": "archive.archive_partition",
        "schedule": crontab(hour="2", minute="47"),
        "options": {"expires": 14_400, "queue": "maintenance"},
    },
    # Whoever asked for an erasure carries it on at once; this is for what a tier kept from its end.
    "finish-user-erasures": {
        "task": "erase.finish_user_erasures",
        "schedule": 15.0,
        "options": {"expires": 14, "queue": "maintenance"},
    },
    # Each mutation writes parts anew, so not more often. Off the full hour.
    "purge-deleted": {
        "task": "erase.purge_deleted",
        "schedule": crontab(minute="47"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # Days are counted, so once a day will do; at night, when few write.
    "apply-retention": {
        "task": "erase.apply_retention",
        "schedule": crontab(minute="27", hour="3"),
        "options": {"expires": 36000, "queue": "maintenance"},
    },
    # Keys are remembered for a day; an hour more or less does not matter. Off the full hour.
    "forget-idempotency-keys": {
        "task": "maintain.forget_idempotency_keys",
        "schedule": crontab(minute="37"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # What has expired is hidden at once, so an hour more or less does not matter.
    "forget-expired-states": {
        "task": "maintain.forget_expired_states",
        "schedule": crontab(minute="57"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
    # At night, when the fewest write; off the hour, where others run, and after the archive.
    "check-consistency": {
        "task": "consistency.check",
        "schedule": crontab(minute="43", hour="4"),
        "options": {"expires": 3600, "queue": "maintenance"},
    },
    # Four weeks ahead leaves time to notice that this fails. Off the full hour, where others run.
    "make-partitions-ahead": {
        "task": "maintain.make_partitions",
        "schedule": crontab(minute="17"),
        "options": {"expires": 1800, "queue": "maintenance"},
    },
}
