"""TLS in front of servers that have none of their own, with an authority made for the test."""

import datetime
import ipaddress
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)
"""What a client of PostgreSQL sends first; the server answers S, and TLS begins."""


class Authority:
    """An authority and one certificate of it, as files."""

    def __init__(self, folder: Path, host: str) -> None:
        folder.mkdir()
        key, own = _key(), _key()
        ca = _name("authority of a test")
        self.ca_file = folder / "ca.pem"
        self.chain_file = folder / "server.pem"
        self.ca_file.write_bytes(_pem(_certificate(ca, ca, key, key, is_ca=True)))
        certificate = _certificate(_name(host), ca, own, key, host=host)
        private = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.chain_file.write_bytes(private + _pem(certificate))


@contextmanager
def terminated(authority: Authority, host: str, port: int, *, speaks: str = "") -> Iterator[int]:
    """A port of `host` whose connections are taken by TLS and go on to a port of this machine. What
    `speaks` `postgresql` asks for TLS first, and `http` names the host that it asks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain_file)
    with socket.create_server((host, 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    args = (context, taken, port, speaks)
                    threading.Thread(target=_carry, args=args, daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # Closing alone would not wake the thread.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _carry(context: ssl.SSLContext, taken: socket.socket, port: int, speaks: str) -> None:
    with suppress(OSError), taken:
        if speaks == "postgresql":
            if taken.recv(8) != SSL_REQUEST:
                return
            taken.sendall(b"S")
        with (
            context.wrap_socket(taken, server_side=True) as client,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            # The embedded ClickHouse answers to its own name alone.
            _pump(client, server, f"Host: 127.0.0.1:{port}" if speaks == "http" else "")
            back.join()


def _pump(source: socket.socket, target: socket.socket, host: str = "") -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            if host and data.startswith((b"POST ", b"GET ")):
                data = re.sub(rb"Host: [^\r]+", host.encode(), data, count=1)
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool = False,
    host: str = "",
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if host:
        try:
            named: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            named = x509.DNSName(host)
        made = made.add_extension(x509.SubjectAlternativeName([named]), critical=False)
    return made.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
