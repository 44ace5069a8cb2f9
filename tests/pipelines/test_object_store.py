"""A build on an S3-compatible object store has the bytes of one in a folder."""

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipelines.build import build
from pipelines.recipe_file import load
from pipelines.verify import verify
from stages.store import Store
from tests.conftest import RECIPE, Cli, Web
from tests.pipelines.test_kill import NO_CLIP, result, undisturbed

__all__ = ["undisturbed"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"mill-{secrets.token_hex(4)}"  # moto keeps buckets for as long as the process lives
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        yield f"s3://{name}/build"
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        server.stop()


def test_same_bytes_on_an_object_store(
    web: Web, cli: Cli, undisturbed: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    settings = [*web.settings, *NO_CLIP, "engine.kind=local"]
    store = Store(bucket)
    build(load(str(RECIPE), settings), store)
    found = {n: hashlib.sha256(store.read_bytes(n)).hexdigest() for n in store.walk() if not n.startswith("logs/")}
    assert found == undisturbed
    assert verify(store).ok
    before = web.hits()
    plan = build(load(str(RECIPE), [*settings, "select.rules.0.keep=width > 100"]), store)
    assert web.hits() == before and plan.step("shards") is None and verify(store).ok
    assert result(tmp_path) == {}, "nothing of it lies in a local folder"
