"""The loopback server's Files and Batch API: it does as its script says, line by line, and counts what it worked on."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from tests.stages.synthesize.endpoint.server import Do, Script, Seen, Server, echo, error

Fate = Callable[[int], str]


@dataclass
class Job:
    """One batch. `end`: what it will be, from the moment `ready` on."""

    id: str
    file: str
    metadata: dict[str, str]
    end: str
    ready: float
    status: str = "in_progress"
    output: str | None = None
    errors: str | None = None
    refused: list[dict[str, Any]] = field(default_factory=list)


class BatchServer(Server):
    """`fate(n)`: completed, expired, cancelled or failed, for the n-th batch. `work_s`: until it is.

    Of an expired or cancelled batch every second line was worked on. `lost`: so many answers to create get lost.
    `cut`: so many downloads end early. `quiet`: no line for what was not worked on. `refused`: a failed one's errors.
    """

    def __init__(self, script: Script = echo, fate: Fate = lambda n: "completed", work_s: float = 0.0) -> None:
        super().__init__(script)
        self.fate, self.work_s = fate, work_s
        self.files: dict[str, bytes] = {}
        self.jobs: list[Job] = []
        self.lost = self.cut = 0
        self.quiet = False
        self.refused: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str]] = []

    def other(self, method: str, path: str, headers: dict[str, str], data: bytes) -> Do:
        path = path.partition("?")[0].removeprefix("/v1")
        self.calls.append((method, path))
        for job in self.jobs:
            self._finish(job)
        if (method, path) == ("POST", "/files"):
            return _json({"id": self._file(_upload(headers, data)), "object": "file"})
        if path.startswith("/files/"):
            content = self.files.get(path.split("/")[2])
            self.cut -= 1
            return (
                error(404, "no such file") if content is None else Do(body=content, cut=20 if self.cut >= 0 else None)
            )
        if (method, path) == ("POST", "/batches"):
            return self._create(json.loads(data))
        if (method, path) == ("GET", "/batches"):
            found = [_told(job) for job in reversed(self.jobs)]
            return _json({"object": "list", "data": found, "has_more": False})
        job = next((j for j in self.jobs if j.id == path.split("/")[2]), None)
        if job is None:
            return error(404, "no such batch")
        if path.endswith("/cancel"):
            job.status = "cancelled"
        return _json(_told(job))

    def _file(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    def _create(self, sent: dict[str, Any]) -> Do:
        n = len(self.jobs)
        job = Job(f"batch-{n}", sent["input_file_id"], sent["metadata"], self.fate(n), time.monotonic() + self.work_s)
        self.jobs.append(job)
        self.lost -= 1
        return Do(reset=True) if self.lost >= 0 else _json(_told(job))

    def _finish(self, job: Job) -> None:
        if job.status != "in_progress" or time.monotonic() < job.ready:
            return
        job.status = job.end
        if job.end == "failed":
            job.refused = self.refused
            return
        out: dict[str, list[bytes]] = {"output": [], "errors": []}
        for i, text in enumerate(self.files[job.file].splitlines()):
            line = json.loads(text)
            if job.end == "completed" or i % 2 == 0:
                self._work(line, out)
            elif not self.quiet:
                told = {"code": f"batch_{job.end}", "message": "too late"}
                out["errors"].append(
                    json.dumps({"custom_id": line["custom_id"], "response": None, "error": told}).encode()
                )
        for kind, lines in out.items():
            random.Random(0).shuffle(lines)
            setattr(job, kind, self._file(b"".join(b + b"\n" for b in lines)) if lines else None)

    def _work(self, line: dict[str, Any], out: dict[str, list[bytes]]) -> None:
        sent = line["body"]
        last = (sent.get("messages") or sent["input"])[-1]
        seen = Seen(last["content"], line["custom_id"], sent, {}, line["url"])
        self.seen.append(seen)
        do = self.script(self, seen)
        seen.delivered = do.status == 200
        response = {"status_code": do.status, "request_id": "r", "body": json.loads(do.body or b"{}")}
        told = {"id": "l", "custom_id": line["custom_id"], "response": response, "error": None}
        out["output" if do.status == 200 else "errors"].append(json.dumps(told).encode())


def _told(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "batch",
        "status": job.status,
        "created_at": int(time.time()),
        "metadata": job.metadata,
        "input_file_id": job.file,
        "output_file_id": job.output,
        "error_file_id": job.errors,
        "errors": {"object": "list", "data": job.refused} if job.refused else None,
    }


def _json(found: Any) -> Do:
    return Do(body=json.dumps(found).encode())


def _upload(headers: dict[str, str], data: bytes) -> bytes:
    """The file of a multipart body."""
    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    whole = BytesParser(policy=HTTP).parsebytes(head + data)
    parts = {part.get_param("name", header="content-disposition"): part for part in whole.iter_parts()}
    assert parts["purpose"].get_content().strip() == "batch"
    return parts["file"].get_payload(decode=True)
