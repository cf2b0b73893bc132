"""The servers without the programs: ``python -m selftest.bed.servers``."""

import argparse
from contextlib import suppress
from pathlib import Path

from embedded.env_file import write_env_file
from embedded.errors import StackInterrupted
from embedded.stack import Stack


def main() -> None:
    """Start the servers, write their addresses, and serve until told to stop."""
    parser = argparse.ArgumentParser(description="Start the four servers of a test.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--max-memory", default="1gb")
    given = parser.parse_args()
    stack = Stack(given.data, max_memory=given.max_memory, debug=True)
    # A signal between its last output and its serving ends it too, by this exception.
    with suppress(StackInterrupted), stack:
        write_env_file(given.env_file, stack.start_servers({}))
        stack.run()


if __name__ == "__main__":
    main()
