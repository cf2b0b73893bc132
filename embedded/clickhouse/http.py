"""ClickHouse's HTTP interface over the engine: keep-alive, chunked bodies, ClickHouse's errors."""

import json
import re
import socket
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from embedded.clickhouse.access import Strangers, refuse_foreign_names, refuse_strangers
from embedded.clickhouse.engine import ClickHouseError, Engine, StatementResult
from embedded.clickhouse.request import (
    MAX_BODY_BYTES,
    NOT_IMPLEMENTED,
    UnservedStatement,
    read_statement,
)

IDLE_SECONDS = 300
MAX_REQUEST_LINE_BYTES = 1024 * 1024
METHODS = ("GET", "HEAD", "POST")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
SERVER_NAME = "threadkeep-embedded"

# The errors of ClickHouse that are not the server's fault; any other is status 500.
_STATUS_OF_CODE = {
    **dict.fromkeys((46, 47, 50, 56, 60, 73, 81, 115), HTTPStatus.NOT_FOUND),
    **dict.fromkeys(
        (6, 20, 26, 27, 33, 36, 38, 41, 42, 43, 53, 62, 69, 70, 72, 117, 130, 131, 353, 376),
        HTTPStatus.BAD_REQUEST,
    ),
    **dict.fromkeys((456, 457), HTTPStatus.BAD_REQUEST),
    **dict.fromkeys((164, 497), HTTPStatus.FORBIDDEN),
    48: HTTPStatus.NOT_IMPLEMENTED,
    159: HTTPStatus.REQUEST_TIMEOUT,
}
_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
}


class HttpServer(ThreadingTCPServer):
    """A thread for each connection; the engine limits how many statements run at once.

    Not `http.server`'s own class: that one looks up this machine's name and loads code to do so,
    when this process may have given up its right to read files.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], engine: Engine, password: str) -> None:
        self.engine = engine
        self.password = password
        self.strangers = Strangers()
        super().__init__(address, Handler)

    def verify_request(self, request: Any, client_address: object) -> bool:
        """Accept every connection, without the password at first."""
        self.strangers.add(request)
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.strangers.remove(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections without the password in time; called twice a second."""
        self.strangers.end_overdue()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing of a client that went away; errors of statements are answered."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: HttpServer
    connection: socket.socket
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    # Head and body of an answer leave in one packet.
    wbufsize = 64 * 1024

    # A request without a version is answered with a status and headers all the same.
    default_request_version = "HTTP/1.0"

    def handle_one_request(self) -> None:
        """Answer one request, however long its address is, up to ClickHouse's own bound."""
        try:
            self.raw_requestline = self.rfile.readline(MAX_REQUEST_LINE_BYTES + 1)
            if len(self.raw_requestline) > MAX_REQUEST_LINE_BYTES:
                self.requestline = self.request_version = self.command = ""
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            elif not self.raw_requestline:
                self.close_connection = True
            elif self.parse_request():
                self._answer()
            self.wfile.flush()
        except TimeoutError:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a malformed request in ClickHouse's form too, and close the connection."""
        self.close_connection = True
        status = HTTPStatus(code)
        self._refuse(UnservedStatement(status, message or status.phrase), str(uuid.uuid4()))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: statements contain messages, and errors quote the rows they fail on."""

    def _answer(self) -> None:
        query_id = str(uuid.uuid4())
        try:
            if self._is_ping():
                self._send(HTTPStatus.OK, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
                return
            body = self._read_body()
            encoding = self.headers.get("Content-Encoding", "")
            statement = read_statement(self.command, self.path, encoding, body)
            answer = self.server.engine.run(statement)
        except UnservedStatement as error:
            self._refuse(error, query_id)
        except ClickHouseError as error:
            self._send_error(error, query_id)
        else:
            self._send(HTTPStatus.OK, answer.body, self._headers_of(answer, query_id))

    def _is_ping(self) -> bool:
        """Check the client before its body is read.

        Raises:
            BadRequest: It is refused; the rest of its request is not read.
        """
        try:
            refuse_foreign_names(self.headers, self.path)
            if self.command in {"GET", "HEAD"} and self.path.partition("?")[0] == "/ping":
                return True
            refuse_strangers(self.headers, self.server.password)
            self.server.strangers.remove(self.connection)
            if self.command not in METHODS:
                message = f"the method {self.command} is not supported"
                raise UnservedStatement(HTTPStatus.NOT_IMPLEMENTED, message, NOT_IMPLEMENTED)
        except UnservedStatement:
            self.close_connection = True
            raise
        return False

    def _read_body(self) -> bytes:
        """Return the request's body.

        Raises:
            BadRequest: It is too long or cut off; the connection is then closed, because where
                the next request begins is not known.
        """
        try:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                return self._read_chunks()
            length = int(self.headers.get("Content-Length", 0))
            return self._read_exactly(self._checked_length(length))
        except (ValueError, UnservedStatement) as error:
            self.close_connection = True
            if isinstance(error, UnservedStatement):
                raise
            raise UnservedStatement(HTTPStatus.BAD_REQUEST, "the length is not a number") from error

    def _read_chunks(self) -> bytes:
        chunks: list[bytes] = []
        total = 0
        while size := _chunk_size(self.rfile.readline(1024)):
            total = self._checked_length(total + size)
            chunks.append(self._read_exactly(size))
            self.rfile.readline(3)
        while self.rfile.readline(65_537).strip():
            pass
        return b"".join(chunks)

    def _checked_length(self, length: int) -> int:
        if not 0 <= length <= MAX_BODY_BYTES:
            raise UnservedStatement(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
        return length

    def _read_exactly(self, size: int) -> bytes:
        data = self.rfile.read(size) if size else b""
        if len(data) != size:
            raise UnservedStatement(HTTPStatus.BAD_REQUEST, "the body was cut off")
        return data

    def _headers_of(self, answer: StatementResult, query_id: str) -> dict[str, str]:
        summary = {
            "read_rows": str(answer.read_rows),
            "read_bytes": str(answer.read_bytes),
            "written_rows": str(answer.written_rows),
            "elapsed_ns": str(answer.elapsed_ns),
        }
        return {
            "Content-Type": _CONTENT_TYPES.get(answer.format, "text/plain; charset=UTF-8"),
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Format": answer.format,
            "X-ClickHouse-Timezone": self.server.engine.timezone,
            "X-ClickHouse-Summary": json.dumps(summary, separators=(",", ":")),
        }

    def _refuse(self, error: UnservedStatement, query_id: str) -> None:
        text = f"Code: {error.code}. DB::Exception: {error}."
        self._send_error(ClickHouseError(error.code, text), query_id, error.status)

    def _send_error(
        self, error: ClickHouseError, query_id: str, status: HTTPStatus | None = None
    ) -> None:
        status = status or _STATUS_OF_CODE.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
        text = f"{error} (version {self.server.engine.version} (chDB))\n"
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Exception-Code": str(error.code),
        }
        self._send(status, text.encode(), headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Server-Display-Name", SERVER_NAME)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _chunk_size(line: bytes) -> int:
    """The size of a chunk (RFC 9112, section 7.1). Raises `ValueError`."""
    digits = line.split(b";")[0].strip()
    if not _HEX.fullmatch(digits):
        raise ValueError("the size of a chunk is not a number")
    return int(digits, 16)
