"""The queues of the tasks; a slow one does not hold up the others."""

PERSIST = "persist"
REPLICATE = "replicate"
MAINTENANCE = "maintenance"

ALL = (PERSIST, REPLICATE, MAINTENANCE)

ROUTES = {
    "alerts.*": {"queue": MAINTENANCE},
    "persist.*": {"queue": PERSIST},
    "replicate.*": {"queue": REPLICATE},
    "recover.*": {"queue": REPLICATE},
    "erase.*": {"queue": MAINTENANCE},
    "archive.*": {"queue": MAINTENANCE},
    "consistency.*": {"queue": MAINTENANCE},
    "maintain.*": {"queue": MAINTENANCE},
    "disaster.*": {"queue": MAINTENANCE},
    "threads.*": {"queue": MAINTENANCE},
}
