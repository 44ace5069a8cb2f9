"""An object store that refuses or is not there: one line, exit 2."""

import sys

import fsspec
import pytest

from pipelines import cli
from pipelines.store_errors import as_wrong_request


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "no credentials for the object store"), ("test", "the object store cannot be reached")],
)
def test_one_line(
    key: str | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False) if key is None else monkeypatch.setenv(name, key)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, f"{tmp_path}/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setattr(sys, "argv", ["pairmill", "stats", "s3://mill/build"])
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert len(lines) == 1 and said in lines[0]


def test_a_refusal_is_found_behind_other_errors() -> None:
    try:
        try:
            raise PermissionError("Forbidden")
        except PermissionError as error:
            raise OSError("could not write") from error
    except OSError as error:
        found = as_wrong_request(error)
    assert found is not None and "Forbidden" in str(found)


def test_a_bug_stays_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("sample_id")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(KeyError):
        cli.main()
