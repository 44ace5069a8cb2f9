"""From measurements to the table's rows and to the three claims: pure functions."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.streaming.readers import READERS
from bench.streaming.runner import Measured

DECODES = {"none": "no decode", "same": "to 224, same decoder", "own": "to 224, own decoder"}


def title(of: Measured) -> str:
    threads = of.setting.threads
    return READERS[of.setting.reader].title + (f", {threads} threads" if threads > 1 else "")


def column(of: Measured) -> tuple[str, int, str]:
    """What a comparison is made within: (storage, workers, decode)."""
    return ("object store" if of.setting.cache else "local", of.setting.workers, of.setting.decode)


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row per reader and setting, settings together, with the ratio to the locked webdataset."""
    out = []
    for where in dict.fromkeys(column(m) for m in measured):
        here = [m for m in measured if column(m) == where]
        base = next((m.middle for m in here if m.setting.reader == "wds0"), 0.0)
        out += [_row(m, base) for m in here]
    return out


def _row(of: Measured, base: float) -> dict[str, Any]:
    storage, workers, decode = column(of)
    about = {"storage": storage, "workers": workers, "decode": DECODES[decode], "reader": title(of)}
    if of.cannot:
        return {**about, "note": of.cannot}
    return {
        **about,
        "samples/s, best": round(of.best),
        "median": round(of.middle),
        "CPU ms/sample": round(of.cpu_ms, 4),
        "× webdataset 0.2": round(of.middle / base, 2) if base else None,
        "epoch start ms": round(of.start_ms, 1),
        "note": READERS[of.setting.reader].s3 if of.setting.cache else "",
    }


def claims(measured: Iterable[Measured]) -> dict[str, str]:
    """Each claim, and what was measured for it, setting by setting: medians over medians."""
    told = list(measured)
    facts: dict[str, str] = {}
    for where in dict.fromkeys(column(m) for m in told):
        here = {(m.setting.reader, m.setting.threads): m for m in told if column(m) == where and not m.cannot}
        name = f"{where[0]}, {where[1]} workers, {DECODES[where[2]]}"
        facts |= _against(here, name, "wds0", "≥ 10 × webdataset 0.2") if where[2] == "none" else {}
        facts |= _against(here, name, "wds1", "≥ 10 × webdataset 1.x") if where[2] == "none" else {}
        facts |= _against(here, name, "lit", "≥ litdata")
        facts |= _against(here, name, "bare", "≥ 95 % of the bare decoder") if where[2] == "same" else {}
    return facts


def _against(here: dict[tuple[str, int], Measured], name: str, peer: str, claim: str) -> dict[str, str]:
    """By wall time, and by CPU per sample, which a busy machine changes less."""
    facts = {}
    for (reader, threads), ours in here.items():
        other = here.get((peer, threads)) or here.get((peer, 1))
        if reader != "ours" or other is None or (peer == "bare" and other.setting.threads != threads):
            continue
        by_time = ours.middle / other.middle if other.middle else 0.0
        by_cpu = other.cpu_ms / ours.cpu_ms if ours.cpu_ms else 0.0
        facts[f"{claim} ({name}; {threads} threads)"] = f"{by_time:.2f} by time, {by_cpu:.2f} by CPU"
    return facts
