"""What happens behind the answer: persisting, replicating, archiving, erasing, checking, repairing.

Knows no Celery."""
