"""ClickHouse as chDB, served over HTTP by a process of its own."""

import http.client
import sys
from pathlib import Path

from embedded.environment import environment
from embedded.errors import StackError
from embedded.ports import HOST
from embedded.server import Server, package_folder
from embedded.supervision.privileges import RunAs
from embedded.supervision.process import Spec

NAME = "clickhouse"
DATABASE = "threadkeep"
USER = "default"
KEY_VARIABLE = "EMBEDDED_CLICKHOUSE_KEY"
ANSWER_SECONDS = 1.0
_CODE_ROOT = Path(__file__).resolve().parent.parent


def server(folder: Path, port: int, password: str, run_as: RunAs) -> Server:
    """Describe the server of the data in `folder`, with its database created.

    It starts as its caller and becomes `run_as` once its code, which may be anywhere, is loaded.

    It gets the password by its environment: arguments can be seen by everybody on the machine.

    Raises:
        StackError: chDB is not installed, or would take part of the folder's name for options.
    """
    package_folder("chdb")
    if "?" in str(folder):
        raise StackError(
            f"ClickHouse cannot keep its data in a folder with a question mark: {folder}"
        )

    def prepare() -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        run_as.own(folder)

    prepare()
    command = [
        sys.executable,
        "-m",
        "embedded.clickhouse.owner",
        f"--path={folder}",
        f"--host={HOST}",
        f"--port={port}",
        f"--database={DATABASE}",
    ]
    if run_as.name:
        command += [f"--uid={run_as.uid}", f"--gid={run_as.gid}"]
    return Server(
        # The package may lie in a checkout that is not installed, found by its folder only.
        spec=Spec(
            name=NAME,
            command=tuple(command),
            env={**environment(), KEY_VARIABLE: password},
            cwd=_CODE_ROOT,
            prepare=prepare,
        ),
        variable="CLICKHOUSE_URL",
        url=f"clickhouse+http://{USER}:{password}@{HOST}:{port}/{DATABASE}",
        is_ready=lambda: _answers(port, password),
    )


def _answers(port: int, password: str) -> bool:
    """Tell whether it runs statements, not only whether it is there."""
    link = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        link.request("POST", "/", b"SELECT 1", {"X-ClickHouse-Key": password})
        return link.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
