"""`backup` and `restore` as commands: the origin of a backup."""

from pathlib import Path
from secrets import token_urlsafe

from support.calls.commands import threadkeep
from support.stack.processes import Launched


def test_a_backup_is_signed_by_the_installation_that_made_it(
    stack: Launched, tmp_path: Path
) -> None:
    made = threadkeep(tmp_path, stack.env, "backup", "made")
    assert made.returncode == 0, made.stderr
    for command in ("backup", "restore"):
        checked = threadkeep(tmp_path, stack.env, command, "made", "--verify")
        assert (checked.returncode, checked.stderr) == (0, b"")
        assert checked.stdout.startswith(b"intact: ")
    elsewhere = dict(stack.env) | {"THREADKEEP_JWT_SECRET": token_urlsafe(48)}
    refused = threadkeep(tmp_path, elsewhere, "restore", "made", "--merge")
    assert refused.returncode == 1
    assert b"made is not signed with this installation's THREADKEEP_JWT_SECRET" in refused.stderr
    for env in (elsewhere, {}):
        trusted = threadkeep(tmp_path, env, "backup", "made", "--verify", "--trust")
        assert trusted.returncode == 0
        assert b"WARNING: this backup is taken on trust" in trusted.stderr
    assert threadkeep(tmp_path, {}, "backup", "made", "--verify").returncode == 2
