"""The process of a local model: llama.cpp's server on loopback, for as long as whoever started it is there.

stdin: one line of JSON (`path`, `name`, `key`, `slots`, `context`, `threads`, `parent`), then nothing until its end,
which is this process's end too. stdout: one line of JSON with `url` once the model is loaded. stderr: what llama.cpp
has to say. Run by file name: it imports nothing of this project.
"""

import importlib
import json
import os
import select
import signal
import threading
from typing import Any

LOOK_S = 1.0
"""Between looks at whether the parent is still the one that started us: a fork of it may hold the pipe open."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: what it has asked for may still arrive
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        line = os.read(0, 65536)
        while line and not line.endswith(b"\n"):
            line += os.read(0, 65536)
        if not line:
            return
        settings = json.loads(line)
        threading.Thread(target=_end_with, args=(settings["parent"],), daemon=True).start()
        server = _serve(settings)
        print(json.dumps({"url": server.listening_address}), file=out, flush=True)
    threading.Event().wait()


def _serve(settings: dict[str, Any]) -> Any:
    xllamacpp = importlib.import_module(
        "xllamacpp"
    )  # an optional extra, unknown to the type checker where it is absent
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.api_keys = [settings["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # the system chooses a free one
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads, cpu.poll = settings["threads"], 0  # do not burn a core while there is nothing to do
    params.ui = False
    params.verbosity = 1  # errors
    return xllamacpp.Server(params)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], LOOK_S)
        if readable and not os.read(0, 4096):
            break
    os._exit(0)


if __name__ == "__main__":
    main()
