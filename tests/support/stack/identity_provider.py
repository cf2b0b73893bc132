"""An identity provider on loopback, its keys, and tokens that it signs."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KINDS = {"RS256": (RSA, RSAAlgorithm), "ES256": (EC, ECAlgorithm), "EdDSA": (ED, OKPAlgorithm)}


def published(kid: str | None, key: Any, kind: Any, **more: Any) -> dict[str, Any]:
    """A key as a provider shows it."""
    shown = kind.to_jwk(key.public_key(), as_dict=True)
    shown.pop("key_ops", None)
    named = {} if kid is None else {"kid": kid}
    return {**shown, **named, "use": "sig", **more}


def of_all_kinds() -> list[dict[str, Any]]:
    """A key of each kind, called by its algorithm."""
    return [published(name, *KINDS[name]) for name in KINDS]


def claims(**changes: Any) -> dict[str, Any]:
    """What a token says."""
    now = int(time.time())
    return {"sub": "alice", "iat": now, "exp": now + 60, **changes}


def signed(kid: str | None, algorithm: str, key: Any = None, **changes: Any) -> str:
    """A token that the provider's key of this algorithm signed, or another one."""
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), key or KINDS[algorithm][0], algorithm, headers=headers)


class Provider:
    """The server of the key set. It counts how often it is asked; how it answers may be changed."""

    def __init__(self) -> None:
        self.keys = of_all_kinds()
        self.asked = 0
        self.status = 200
        self.pause_seconds = 0.0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                time.sleep(provider.pause_seconds)
                content = json.dumps({"keys": provider.keys}).encode()
                self.send_response(provider.status)
                if provider.status in {301, 302}:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/keys"

    def end(self) -> None:
        """Stops it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
