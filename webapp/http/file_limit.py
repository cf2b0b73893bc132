"""How many files and connections a process that serves may hold."""

import resource

ENOUGH = 65_536


def raise_file_limit() -> int:
    """Takes as many as the system lets it, within reason, and says how many those are.

    What a shell gives, often 1024, is less than the connections that a process is there for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
