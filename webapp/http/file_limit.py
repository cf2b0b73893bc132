"""The limit of open files, and so of connections, of a serving process."""

import resource

ENOUGH = 65_536


def raise_file_limit() -> int:
    """Raises the soft limit to the hard one, at most 65,536; gives the limit.

    The default of a shell, often 1024, is less than the connections of a process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
