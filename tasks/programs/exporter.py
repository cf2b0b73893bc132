"""`python -m tasks.programs.exporter PORT`: `/metrics` of a worker or beat that has a container of
its own, and so shares no folder with a web process. It knows no secret and asks no server."""

import os
import sys

from prometheus_client import CollectorRegistry, start_http_server

from storage.telemetry.instruments import Instruments
from storage.telemetry.processes import registry_of


class _Folder:
    """The figures of the folder, read at each scrape."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._none = Instruments(is_on=False)

    def collect(self) -> object:
        return registry_of(self._none, self._folder).collect()


def main() -> None:
    """Serves until it is told to stop."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal() or not folder:
        sys.exit("usage: python -m tasks.programs.exporter PORT, with PROMETHEUS_MULTIPROC_DIR set")
    registry = CollectorRegistry()
    registry.register(_Folder(folder))  # type: ignore[arg-type]
    _, thread = start_http_server(int(sys.argv[1]), registry=registry)
    thread.join()


if __name__ == "__main__":
    main()
