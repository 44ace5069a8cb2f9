"""One reader, one measurement, one process: a Setting as a line on stdin, an Answer as the last line of stdout.

The clock of a local epoch starts when a batch, and with workers all that they prefetch, has come, and ends with the
last batch: imports, indexes, worker starts and epoch starts do not count (the last are reported on their own). From an
object store whole cold epochs count, from asking for the first batch, each with an empty cache. CPU is this process'
and all its children's, over the same spans.
"""

import gc
import hashlib
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from bench.streaming.readers import Batch, Cannot, Epochs, module, opened
from bench.streaming.samples import digest, number_of
from bench.streaming.setting import Answer, Setting

_PREFETCHED = 2  # batches per worker: DataLoader's default


def rate(setting: Setting) -> Answer:
    """samples, wall and cpu of `seconds` of reading."""
    answer = Answer()
    epochs = None if setting.cache else opened(setting)
    number = 0
    while answer.wall < setting.seconds:
        number += 1
        if epochs is None:
            _cold_epoch(replace(setting, cache=f"{setting.cache}/{number}"), answer)
        else:
            _warm_epoch(epochs, number, setting, answer)
    return answer


def _warm_epoch(epochs: Epochs, number: int, setting: Setting, answer: Answer) -> None:
    asked = time.perf_counter()
    batches = iter(epochs(number))
    touch(next(batches))
    answer.starts.append(time.perf_counter() - asked)
    for batch in islice(batches, _PREFETCHED * setting.workers):
        touch(batch)
    began, spent = time.perf_counter(), cpu()
    seen, last = 0, began
    for batch in batches:
        seen += touch(batch)
        last = time.perf_counter()  # what follows the last batch is the end of the workers
        if answer.wall + last - began >= setting.seconds:
            break
    if not seen:
        raise ValueError("an epoch of so few batches cannot be timed: more samples, or a smaller batch")
    answer.wall += last - began
    answer.cpu += cpu() - spent
    answer.samples += seen


def _cold_epoch(setting: Setting, answer: Answer) -> None:
    epochs = opened(setting)
    began, spent = time.perf_counter(), cpu()
    for at, batch in enumerate(epochs(1)):
        if not at:
            answer.starts.append(time.perf_counter() - began)
        answer.samples += touch(batch)
    answer.wall += time.perf_counter() - began
    answer.cpu += cpu() - spent


def check(setting: Setting) -> Answer:
    """What one epoch delivers, as digests by text: the proof that all readers read the same samples, whole."""
    answer = Answer()
    for batch in opened(setting)(1):
        answer.samples += touch(batch)
        for text, *rest in _rows(batch):
            answer.repeated += text in answer.found
            answer.found[text] = digest(*rest) if len(rest) == 2 else hashlib.sha256(rest[0]).hexdigest()[:16]
    return answer


def _rows(batch: Batch) -> Iterator[tuple[Any, ...]]:
    texts = [str(text, "utf-8") if isinstance(text, bytes) else text for text in batch["txt"]]
    if "image" in batch:
        import numpy as np

        return zip(texts, (np.ascontiguousarray(image) for image in batch["image"]), strict=True)
    return zip(texts, map(bytes, batch["jpg"]), map(bytes, batch["json"]), strict=True)


def memory(setting: Setting) -> Answer:
    """Resident memory after a tenth of `limit` samples and after all of them."""
    answer = Answer()
    epochs, number = opened(setting), 0
    marks = [setting.limit // 10, setting.limit]
    while marks:
        number += 1
        for batch in epochs(number):
            answer.samples += touch(batch)
            if answer.samples >= marks[0]:
                gc.collect()
                answer.rss[str(marks.pop(0))] = resident()
                if not marks:
                    break
    return answer


def first(setting: Setting) -> Answer:
    """Seconds from opening to the first sample; libraries are imported already."""
    module(setting)
    began, spent = time.perf_counter(), cpu()
    batches = iter(opened(replace(setting, batch=1))(1))
    touch(next(batches))
    return Answer(samples=1, wall=time.perf_counter() - began, cpu=cpu() - spent)


def order(setting: Setting) -> Answer:
    """The numbers of one epoch's samples, as they come."""
    return Answer(order=[number_of(text) for batch in opened(setting)(1) for text in batch["txt"]])


def touch(batch: Batch) -> int:
    """How many samples; what came as a view is copied, so that a reader which hands out views pays for the bytes."""
    if "jpg" in batch:
        for name in ("jpg", "json"):
            for data in batch[name]:
                if type(data) is not bytes:
                    bytes(data)
    return len(batch["txt"])


def cpu() -> float:
    """User and system seconds of this process, of ended children, and of living ones."""
    import psutil

    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent += times.user + times.system
    return spent


def resident() -> list[float]:
    """[resident, anonymous] MiB of this process: the second leaves out mapped files, which the kernel can drop."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(told[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]


JOBS = {"rate": rate, "check": check, "memory": memory, "first": first, "order": order}


def main() -> None:
    setting = Setting.parse(sys.stdin.readline())
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        answer = JOBS[setting.job](setting)
    except Cannot as reason:
        answer = Answer(cannot=str(reason))
    sys.stdout.flush()
    print("\n" + answer.line(), flush=True)


if __name__ == "__main__":
    main()
