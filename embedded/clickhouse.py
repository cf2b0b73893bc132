"""ClickHouse as chDB, which a process of its own holds and serves over HTTP."""

import http.client
import sys
from pathlib import Path

from embedded.errors import StackError
from embedded.ports import HOST
from embedded.process import Spec
from embedded.server import Server, package_folder

NAME = "clickhouse"
DATABASE = "threadkeep"
PING_TIMEOUT_SECONDS = 1.0
_CODE_ROOT = Path(__file__).resolve().parent.parent


def server(folder: Path, port: int) -> Server:
    """Describe the server of the data in `folder`, with its database created.

    Raises:
        StackError: chDB is not installed, or would take part of the folder's name for options.
    """
    package_folder("chdb")
    if "?" in str(folder):
        raise StackError(
            f"ClickHouse cannot keep its data in a folder with a question mark: {folder}"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    command = (
        sys.executable,
        "-m",
        "embedded.clickhouse_server",
        f"--path={folder}",
        f"--host={HOST}",
        f"--port={port}",
        f"--database={DATABASE}",
    )
    return Server(
        # The package may lie in a checkout that is not installed, found by its folder only.
        spec=Spec(
            name=NAME,
            command=command,
            cwd=_CODE_ROOT,
            prepare=lambda: folder.mkdir(mode=0o700, exist_ok=True),
        ),
        variable="CLICKHOUSE_URL",
        url=f"clickhouse+http://default:@{HOST}:{port}/{DATABASE}",
        is_ready=lambda: _answers(port),
    )


def _answers(port: int) -> bool:
    link = http.client.HTTPConnection(HOST, port, timeout=PING_TIMEOUT_SECONDS)
    try:
        link.request("GET", "/ping")
        return link.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
