"""A loopback object store (moto's server) that holds every format of a run, and how each reader is told of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.streaming.data import Data
from bench.streaming.readers import READERS

BUCKET = "bench"
LOOSE = 600
"""Samples of loose files that are uploaded: three requests each."""


@dataclass(slots=True)
class ObjectStore:
    endpoint: str
    client: Any
    _uploaded: set[str]

    def of(self, data: Data, reader: str, decode: str) -> tuple[str, dict[str, Any]]:
        """(URL of a reader's format, what its options must say), uploaded on the first call."""
        folder = data.of(reader, decode)
        if reader == "bare":
            return str(folder), {}
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        options: dict[str, Any] = {}
        if reader == "loose":
            stems = sorted(path.with_suffix("") for path in files if path.suffix == ".jpg")[:LOOSE]
            files = [path for path in files if path.with_suffix("") in set(stems)]
            options["stems"] = [stem.relative_to(folder).as_posix() for stem in stems]
        elif READERS[reader].module == "wds":
            tars = [path.name for path in files if path.suffix == ".tar"]
            options["http"] = [f"{self.endpoint}/{BUCKET}/{folder.name}/{name}" for name in tars]
        for path in files:
            key = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            if key not in self._uploaded:
                self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes(), ACL="public-read")
                self._uploaded.add(key)
        return f"s3://{BUCKET}/{folder.name}", options


@contextmanager
def serving() -> Iterator[ObjectStore]:
    """On a free port of 127.0.0.1, until the context ends."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="bench", aws_secret_access_key="bench",
            region_name="us-east-1",
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET)
        yield ObjectStore(endpoint, client, set())
    finally:
        server.stop()
