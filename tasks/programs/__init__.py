"""The programs of Celery that run this application, and their checks."""
