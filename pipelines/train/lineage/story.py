"""What `explain_step` found, as plain text for a terminal."""

from collections import Counter
from typing import Any

from pipelines.show import safe
from schemas.train_batch import SKIPPED

_MARGIN = 9
_SKIPPED = {reason.value for reason in SKIPPED}


def story(said: dict[str, Any]) -> str:
    """The whole of a step."""
    lines = [f"step {said['step']} of {safe(said['run'])}: step {said['stage_step']} of stage {said['stage']}"]
    lines.append(
        f"  loss {said['loss']:.4f} over {said['label_tokens']:,} label tokens of {said['tokens']:,}; "
        f"{len(said['samples']):,} conversations, {said['images']:,} pictures, {said['truncated']:,} cut; "
        f"gradient norm {said['grad_norm']:.4g}, rate {said['lr']:.3g}"
    )
    for name in ("kinds", "sources"):
        lines.append(_line(name, ", ".join(f"{key} {loss:.4f}" for key, loss in said[name].items())))
    lines += ["", "data", *(line for origin in said["origins"] for line in _origin(origin))]
    lines += [_line("changed", change) for change in said["changes"]]
    for sample in said["samples"]:
        lines += ["", *_sample(sample)]
    lines += _rejections(said["rejections"])
    return "\n".join(lines) + "\n"


def _origin(origin: dict[str, Any]) -> list[str]:
    manifest = f"manifest {origin['manifest']}" if origin["manifest"] else "not named in the run's card"
    lines = [_line(origin["name"], f"{origin['path']}, {manifest}")]
    if origin["why"]:
        lines.append(_line("", f"{origin['state']}: {origin['why']}"))
    if origin["state"] not in ("same", "unnamed"):
        lines.append(_line("", "its samples are shown as the run recorded them"))
    return lines + [_line("passed", f"{rule['reason']}: {rule['rule']}") for rule in origin["rules"] or ()]


def _sample(sample: dict[str, Any]) -> list[str]:
    tokens = sample["label_tokens"]
    mean = f", {sample['loss'] / tokens:.4f} a token" if tokens else ""
    head = f"{safe(sample['sample_id'])}  {safe(sample['source'])}  {safe(sample['kind'])}, number {sample['number']}"
    lines = [head, _line("learnt", f"{tokens:,} tokens, loss {sample['loss']:.4f}{mean}; pictures {sample['images']}")]
    return lines + _lineage(sample["lineage"])


def _lineage(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return []
    place = told["shard"]
    lines = [_line("url", told["url"]), _line("caption", told["caption"])]
    lines.append(_line("shard", f"{place['shard']}/{place['position']}, picture {place['image_sha256']}"))
    measured = [f"{k} {_value(v)}" for of in told["measures"].values() for k, v in of.items() if _short(v)]
    if measured:
        lines.append(_line("measures", ", ".join(measured)))
    one = told["conversation"]
    if one is not None:
        repaired = ", repaired" if one["repaired"] else ""
        prompt = f"prompt {one['kind']} version {one['prompt_version']}, {one['language']}{repaired}"
        lines.append(_line("teacher", f"{one['teacher']}, {prompt}"))
        if one["images"]:
            lines.append(_line("pictures", ", ".join(one["images"])))
    return lines + [_line(turn["role"], turn["text"]) for turn in told["turns"] or ()]


def _rejections(rejected: list[dict[str, Any]]) -> list[str]:
    """One by one; those that the request itself passes over are counted."""
    if not rejected:
        return []
    lines = ["", "read for this step and not trained on"]
    passed = Counter(one["reason"] for one in rejected if one["reason"] in _SKIPPED)
    lines += [_line(reason, f"{count:,} conversations") for reason, count in sorted(passed.items())]
    for one in rejected:
        if one["reason"] in _SKIPPED:
            continue
        which = "" if one["number"] < 0 else f"{safe(one['kind'])}, number {one['number']}: "
        lines += ["", f"{safe(one['sample_id'])}  {safe(one['source'])}  {which}{one['reason']}"]
        lines += [_line("why", one["detail"])] if one["detail"] else []
        lines += _lineage(one["lineage"])
    return lines


def _short(value: Any) -> bool:
    """Worth a word: no hash, no list, nothing absent."""
    return value is not None and not isinstance(value, list | dict) and not (isinstance(value, str) and len(value) > 40)


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else safe(str(value))


def _line(name: str, value: Any) -> str:
    return f"  {safe(name):<{_MARGIN}} {safe(str(value))}".rstrip()
