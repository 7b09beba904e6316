"""A redis-server that listens by TLS only."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from redis import Redis
from redis.exceptions import ConnectionError as RefusedError

from tests.security.tls_front import Authority
from tests.stores.redis.redis_support import unused_port


@contextmanager
def running_with_tls(binary: Path, folder: Path, authority: Authority) -> Iterator[int]:
    issued = authority.ca.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    with unused_port() as port:
        pass
    files = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.pem", "--tls-ca-cert-file", str(authority.file)]
    command = [str(binary), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", *files, "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([*command, "--tls-auth-clients", "no"], stdout=log, stderr=log, cwd=folder)
    try:
        limit = monotonic() + 20
        while not _answers(port, authority):
            assert monotonic() < limit and server.poll() is None, (folder / "redis.log").read_text()
            sleep(0.02)
        yield port
    finally:
        server.kill()
        server.wait()


def _answers(port: int, authority: Authority) -> bool:
    try:
        with Redis("localhost", port, ssl=True, ssl_ca_certs=str(authority.file)) as client:
            return bool(client.ping())
    except RefusedError:
        return False
