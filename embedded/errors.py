"""What can go wrong while a stack starts, each with a message fit for one line on a terminal."""


class StackError(Exception):
    """A server could not be prepared or did not become ready; the message says which and why."""


class AlreadyRunning(StackError):
    """Another supervisor holds the data folder; the message names the folder and its pid."""


class StackInterrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived during start-up.

    It is no `Exception`, so that an `except Exception` in code run during start-up (a migration,
    for one) cannot swallow the request to stop.
    """
