"""Accounts without rights for the parts of a stack that is started as root."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import StackError
from embedded.supervision.process import PR_SET_PDEATHSIG

ACCOUNTS = ("threadkeep", "nobody")
"""The first existing one is used: its own account, or the one that many services share."""
SHARED_ACCOUNT = ACCOUNTS[-1]


@dataclass(frozen=True)
class RunAs:
    """An account: the caller's own, or an unprivileged one if the caller is root."""

    name: str = ""
    prefix: tuple[str, ...] = ()
    uid: int = -1
    gid: int = -1

    def own(self, folder: Path) -> None:
        """Give a folder and all that is in it to the account."""
        if self.uid == -1:
            return
        # An entry may be a link: the link changes its owner, not its target.
        for _, folders, files, descriptor in os.fwalk(folder):
            for name in (".", *folders, *files):
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if (found.st_uid, found.st_gid) != (self.uid, self.gid):
                    os.chown(name, self.uid, self.gid, dir_fd=descriptor, follow_symlinks=False)

    def reaches(self, *files: Path) -> bool:
        """Tell whether the account may read these files, or search those that are folders."""
        script = 'for file; do test -r "$file" -o -x "$file" || exit 1; done'
        return self.may_run("/bin/sh", "-c", script, "sh", *map(str, files))

    def may_run(self, *command: str) -> bool:
        """Tell whether a harmless command succeeds as the account."""
        if not self.prefix:
            return True
        # A shell in between: setpriv itself finds its program with the caller's rights.
        shell = ("/bin/sh", "-c", 'exec "$@"', "sh")
        asked = (*self.prefix, "--", *shell, *command)
        done = subprocess.run(asked, capture_output=True, check=False)
        return done.returncode == 0

    def wrap(self, command: tuple[str, ...], death_signal: signal.Signals) -> tuple[str, ...]:
        """Return the command line that runs `command` as the account.

        The death signal is set here once more because the kernel clears it with the change of
        user.
        """
        if not self.prefix:
            return command
        dies = ("--pdeathsig", death_signal.name.removeprefix("SIG"))
        return (*self.prefix, *dies, "--", *command)


CALLER = RunAs()


def become(uid: int, gid: int, death_signal: signal.Signals) -> None:
    """Give up this process's own rights for good, with all its threads."""
    parent = os.getppid()
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # The kernel clears the death signal with the change of user.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def account() -> RunAs:
    """Return the account of the servers.

    Raises:
        StackError: The caller is root, and there is no way to become somebody else.
    """
    if os.geteuid() != 0:
        return RunAs()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "no server runs as root and setpriv (util-linux) is missing: install it, "
            "start as an ordinary user, or name servers of your own in the environment"
        )
    user = _user()
    identity = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    # The change of user drops all capabilities, and no program gets any back.
    prefix = (setpriv, *identity, "--inh-caps=-all", "--no-new-privs")
    return RunAs(user.pw_name, prefix, user.pw_uid, user.pw_gid)


def _user() -> pwd.struct_passwd:
    for name in ACCOUNTS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid != 0:
            return user
    raise StackError(
        f"no server runs as root and there is no user {' or '.join(ACCOUNTS)}: "
        "start as an ordinary user, or name servers of your own in the environment"
    )
