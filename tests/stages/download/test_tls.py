"""TLS: certificates are checked against the host asked for, wherever connect_to leads."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.stages.download.hostile import HostileServer, answer, redirect
from tests.stages.download.web import JPEG, config, fetch, one


def _certificate(folder: Path, host: str) -> Path:
    """A self-signed certificate for `host`, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    """A server for `secure.test`, whose certificate the process trusts."""
    certificate = _certificate(tmp_path, "secure.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HostileServer(tls=context) as running:
        running.pages["/a"] = answer(JPEG)
        yield running


def test_a_trusted_certificate_for_the_host(secure: HostileServer) -> None:
    rows, _ = fetch(["https://secure.test/a"] * 8, config(secure, per_host=1))
    assert [r["image"] for r in rows] == [JPEG] * 8
    assert secure.connections == 1


def test_a_certificate_for_another_host(secure: HostileServer) -> None:
    row = one("https://other.test/a", config(secure, retries=2))
    assert (row["reason"], row["detail"]) == ("tls_error", "certificate")
    assert not secure.hits


def test_a_certificate_that_nobody_vouches_for(
    secure: HostileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(_certificate(tmp_path, "unrelated.test")))
    assert one("https://secure.test/a", config(secure))["reason"] == "tls_error"


def test_certificates_are_not_asked_where_the_recipe_says_so(secure: HostileServer) -> None:
    row = one("https://other.test/a", config(secure, verify_tls=False))
    assert row["reason"] is None


def test_plain_http_behind_https() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=speak)
        thread.start()
        row = one("https://a.test/a", config(connect_to={"*": f"127.0.0.1:{listener.getsockname()[1]}"}))
        thread.join(5)
    assert (row["reason"], row["detail"]) == ("tls_error", "handshake")


def test_a_redirect_into_tls(server: HostileServer, secure: HostileServer) -> None:
    server.pages["/go"] = redirect("https://secure.test/a")
    routes = {"secure.test": f"127.0.0.1:{secure.port}", "a.test": f"127.0.0.1:{server.port}"}
    row = one("http://a.test/go", config(connect_to=routes))
    assert (row["reason"], row["final_url"]) == (None, "https://secure.test/a")
