"""The four servers of a one-machine Threadkeep, run as ordinary child processes.

Everything comes from Python wheels (Valkey, PostgreSQL and ClickHouse as chDB), so that
``threadkeep up`` needs neither Docker nor system packages. This package knows nothing of the
rest of Threadkeep; start at `embedded.stack`.
"""
