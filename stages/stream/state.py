"""What a checkpoint keeps of a stream, and whether a stream may go on from it."""

from typing import Any

from schemas.errors import WrongData, WrongRequest
from schemas.stream import StreamConfig
from stages.stream.sequence import Sequence
from stages.stream.source import Source

FORMAT = 1
_NAMED = 3  # shards named in a message


def state_at(
    position: int, config: StreamConfig, sources: list[Source], sequence: Sequence, changes: list[str]
) -> dict[str, Any]:
    """A JSON-able state. `position` alone says where the stream stands; the rest is there to be compared and read."""
    cursors = sequence.mixture.cursors(position)
    return {
        "format": FORMAT,
        "position": position,
        "order": config.decisive(),
        "sources": {
            source.label: {
                "cursor": cursor, "samples": int(source.counts.sum()), "fingerprint": source.fingerprint,
                "shards": source.hashes(),
            }
            for source, cursor in zip(sources, cursors, strict=True)
        },
        "changes": changes,
    }  # fmt: skip


def resumed(state: dict[str, Any], config: StreamConfig, sources: list[Source], allow_changed: bool) -> list[str]:
    """The changes to record, the state's own among them.

    Raises WrongRequest where the state is of another order (seed, window, mixture …), and WrongData where a dataset is
    not the one that the state was taken from, unless `allow_changed`.
    """
    if state.get("format") != FORMAT:
        raise WrongRequest(f"the stream's state has format {state.get('format')!r}, not {FORMAT}", "start it anew")
    settings = _changed_order(state["order"], config)
    changes = settings + _changed_sources(state["sources"], sources)
    if allow_changed or not changes:
        return [*state["changes"], *(f"at {state['position']}: {c}" for c in changes)]
    if settings:
        raise WrongRequest(f"the checkpoint belongs to another stream: {'; '.join(changes)}", _REMEDY)
    raise WrongData(f"the data changed since the checkpoint: {'; '.join(changes)}", _REMEDY)


_REMEDY = "go back to what it was, start anew, or allow it (allow_changed, --allow-changed): the change is recorded"


def _changed_order(before: dict[str, Any], config: StreamConfig) -> list[str]:
    now = config.decisive()
    known = {"sources"}
    found = [
        f"setting {name} {before.get(name)!r} → {now[name]!r}"
        for name in sorted(set(now) - known)
        if before.get(name) != now[name]
    ]
    then = [_without_path(s) for s in before["sources"]]
    if then != [_without_path(s) for s in now["sources"]]:
        found.append(f"setting sources {then} → {[_without_path(s) for s in now['sources']]}")
    return found


def _without_path(source: dict[str, Any]) -> dict[str, Any]:
    """A dataset may move: its hashes say that it is the same."""
    label = source["name"] or source["path"].rstrip("/").rsplit("/", 1)[-1]
    return {**{k: v for k, v in source.items() if k != "path"}, "name": label}


def _changed_sources(before: dict[str, Any], sources: list[Source]) -> list[str]:
    found: list[str] = []
    for source in sources:
        then = before.get(source.label)
        if then is None or then["fingerprint"] == source.fingerprint:
            continue
        now, old = source.hashes(), then["shards"]
        parts = {
            "gone": [n for n in old if n not in now],
            "new": [n for n in now if n not in old],
            "changed": [n for n in now if n in old and now[n] != old[n]],
        }
        told = [f"{len(names)} {what} ({_some(names)})" for what, names in parts.items() if names]
        samples = int(source.counts.sum())
        if samples != then["samples"]:
            told.append(f"samples {then['samples']} → {samples}")
        found.append(f"{source.label}: {', '.join(told) or 'other samples are chosen, or shards are in another order'}")
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
