"""The user of the command line, for the log and the audit trail."""

import getpass


def operator() -> str:
    """`cli:` and the user of this machine."""
    return f"cli:{getpass.getuser()}"
