"""A local model's process: its errors, its end, and (slow, with the extra `local`) a real model that writes.

In the quick tests a stand-in takes the place of xllamacpp: it listens as the real one does, and misbehaves when told.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipelines.local_model import server
from pipelines.local_model.server import KEY_ENV, LocalModel, LocalModelFailed, LocalSettings, local_model
from schemas.errors import PairmillError, WrongRequest

FOREVER = 30.0
STAND_IN = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Bag:
    def __init__(self):
        self.__dict__["cpuparams"] = self.__dict__["cpuparams_batch"] = self.__dict__["model"] = self

CommonParams = Bag

class Server:
    def __init__(self, params):
        what = open(params.path, "rb").read()[4:].decode()
        if what == "refuse":
            print("failed to load model: it is torn", file=sys.stderr, flush=True)
            raise RuntimeError("Failed to init server")
        if what == "starve":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "dawdle":
            time.sleep(60)
        names = [{"id": name if what != "other" else "another"} for name in params.model_alias]
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                ok = self.headers["authorization"] == f"Bearer {params.api_keys[0]}"
                body = json.dumps({"data": names if ok else []}).encode()
                self.send_response(200 if ok else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *args):
                print(*args, file=sys.stderr)
        print("llama.cpp may print to stdout too", flush=True)
        self.inner = ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        threading.Thread(target=self.inner.serve_forever, daemon=True).start()
        self.listening_address = "http://127.0.0.1:%d" % self.inner.server_port
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """xllamacpp as the child finds it, and as this process believes it to be installed."""
    folder = tmp_path / "packages"
    (folder / "xllamacpp-1.0.dist-info").mkdir(parents=True)
    (folder / "xllamacpp-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: xllamacpp\nVersion: 1.0\n"
    )
    (folder / "xllamacpp.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    yield


def gguf(folder: Path, what: str = "") -> LocalSettings:
    path = folder / "tiny.gguf"
    path.write_bytes(b"GGUF" + what.encode())
    return LocalSettings(path=path, start_s=FOREVER)


def status(model: LocalModel, key: str | None = None) -> int:
    link = http.client.HTTPConnection(urlsplit(model.base_url).netloc, timeout=10)
    link.request("GET", "/v1/models", headers={"authorization": f"Bearer {key or model.key}"})
    code = link.getresponse().status
    link.close()
    return code


def gone(pid: int, within_s: float = 20.0) -> bool:
    """Whether the process ends (a child of init, or of ours and reaped)."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.usefixtures("stand_in")
def test_it_answers_whoever_has_the_key_and_nobody_else(tmp_path: Path) -> None:
    with local_model(gguf(tmp_path)) as model:
        assert model.base_url.startswith("http://127.0.0.1:")
        assert status(model) == 200
        assert status(model, key="guessed") == 401


@pytest.mark.usefixtures("stand_in")
def test_the_key_is_in_the_environment_meanwhile_and_on_no_command_line(tmp_path: Path) -> None:
    with local_model(gguf(tmp_path)) as model:
        assert os.environ[KEY_ENV] == model.key
        assert model.key.encode() not in Path(f"/proc/{model.pid}/cmdline").read_bytes()
    assert KEY_ENV not in os.environ


@pytest.mark.usefixtures("stand_in")
def test_it_is_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), local_model(gguf(tmp_path)) as model:
        raise ZeroDivisionError
    assert not Path(f"/proc/{model.pid}").exists()


@pytest.mark.usefixtures("stand_in")
def test_other_weights_have_another_name(tmp_path: Path) -> None:
    names = []
    for what in ("a", "b"):
        with local_model(gguf(tmp_path, what)) as model:
            names.append(model.name)
            assert model.facts.bytes == 5 and model.name == f"tiny@{model.facts.sha256[:12]}"
    assert names[0] != names[1]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("refuse", "ended with code 1 before it answered; it said: .*failed to load model: it is torn"),
        ("starve", "was killed .* memory is short before it answered"),
        ("other", r"names \['another'\]"),
    ],
)
def test_a_server_that_does_not_start_says_why(tmp_path: Path, what: str, said: str) -> None:
    with pytest.raises(LocalModelFailed, match=said), local_model(gguf(tmp_path, what)):
        pass


@pytest.mark.usefixtures("stand_in")
def test_a_server_that_dawdles_is_given_up(tmp_path: Path) -> None:
    settings = gguf(tmp_path, "dawdle")
    with (
        pytest.raises(LocalModelFailed, match=r"did not load within 0\.5 s"),
        local_model(LocalSettings(path=settings.path, start_s=0.5)),
    ):
        pass


@pytest.mark.usefixtures("stand_in")
def test_a_server_that_dies_at_work_is_named_and_so_is_what_it_broke(tmp_path: Path) -> None:
    with (
        pytest.raises(LocalModelFailed, match=r"killed .* while it was in use") as caught,
        local_model(gguf(tmp_path)) as m,
    ):
        os.kill(m.pid, signal.SIGKILL)
        raise PairmillError("the endpoint is down")
    assert str(caught.value.__cause__) == "the endpoint is down"
    assert caught.value.exit_code == 1


@pytest.mark.usefixtures("stand_in")
def test_a_server_that_died_is_told_even_where_nothing_was_noticed(tmp_path: Path) -> None:
    with pytest.raises(LocalModelFailed, match="SIGTERM while it was in use"), local_model(gguf(tmp_path)) as model:
        os.kill(model.pid, signal.SIGTERM)
        os.waitid(os.P_PID, model.pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def started(settings: LocalSettings, body: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that runs a local model and then `body`; and the server's pid."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from pipelines.local_model.server import LocalSettings, local_model\n"
        f"with local_model(LocalSettings(path=Path({str(settings.path)!r}))) as m:\n"
        f"    {body}\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, os.environ["PYTHONPATH"]])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        try:
            yield parent, int(parent.stdout.readline())
        finally:
            parent.kill()


@pytest.mark.usefixtures("stand_in")
def test_when_its_parent_is_killed_it_ends(tmp_path: Path) -> None:
    with started(gguf(tmp_path), "print(m.pid, flush=True); time.sleep(60)") as (parent, pid):
        assert not gone(pid, 0.2)
        parent.kill()
        parent.wait()
        assert gone(pid)


@pytest.mark.usefixtures("stand_in")
def test_it_ends_with_its_parent_though_a_fork_holds_the_pipe(tmp_path: Path) -> None:
    body = "f = os.fork(); [print(n, flush=True) for n in (m.pid, f) if f]; time.sleep(60)"
    with started(gguf(tmp_path), body) as (parent, pid):
        assert parent.stdout is not None
        fork = int(parent.stdout.readline())
        try:
            parent.kill()
            parent.wait()
            assert gone(pid)
            assert not gone(fork, 0.1)
        finally:
            os.kill(fork, signal.SIGKILL)


@pytest.mark.usefixtures("stand_in")
def test_ctrl_c_leaves_it_to_its_parent(tmp_path: Path) -> None:
    with local_model(gguf(tmp_path)) as model:
        os.kill(model.pid, signal.SIGINT)
        assert not gone(model.pid, 0.3)
        assert status(model) == 200


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SERVER", "no_such_package_as_this")
    with pytest.raises(WrongRequest, match="uv sync --extra local"), local_model():
        pass


@pytest.mark.usefixtures("stand_in")
def test_without_the_weights_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WEIGHTS", "no-such-package-as-this")
    with pytest.raises(WrongRequest, match=r"no-such-package-as-this.* uv sync --extra local"), local_model():
        pass


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"])
def test_what_is_no_gguf_file_is_a_wrong_request(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongRequest, match="GGUF file"), local_model(LocalSettings(path=path)):
        pass


@pytest.mark.slow
@pytest.mark.skipif(not server.installed(), reason="needs the extra: uv sync --extra local")
def test_a_real_model_answers_in_the_form_asked_for() -> None:
    import openai

    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "green"]}, "many": {"type": "boolean"}},
        "required": ["colour", "many"],
        "additionalProperties": False,
    }
    with local_model() as model, openai.OpenAI(base_url=model.base_url, api_key=model.key, max_retries=0) as client:
        assert model.facts.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        assert model.facts.license == "Apache-2.0"
        assert [one.id for one in client.models.list()] == [model.name]
        said = client.chat.completions.create(
            model=model.name,
            messages=[{"role": "user", "content": "A red ball. Which colour has the ball?"}],
            response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": schema, "strict": True}},
            max_tokens=200,
            temperature=0,
        )
        stranger = openai.OpenAI(base_url=model.base_url, api_key="guessed", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model=model.name, messages=[{"role": "user", "content": "?"}])
    assert said.usage is not None and said.usage.prompt_tokens > 5 and said.usage.completion_tokens > 3
    assert set(json.loads(said.choices[0].message.content or "")) == {"colour", "many"}
    assert gone(model.pid)


@pytest.mark.slow
@pytest.mark.skipif(not server.installed(), reason="needs the extra: uv sync --extra local")
def test_a_torn_real_model_is_refused_in_words(tmp_path: Path) -> None:
    weights = server._weights()
    assert weights is not None
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(weights.read_bytes()[: 2**20])
    with pytest.raises(LocalModelFailed, match=r"ended with code 1 .* it said: .*failed to load"):  # noqa: SIM117
        with local_model(LocalSettings(path=torn)):
            pass
