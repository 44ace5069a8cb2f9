"""Absent objects to ask about, as POPE (arXiv:2305.10355) chooses them: random, popular, adversarial.

`Statistics` counts labels over a data set; it is built per part and merged, in any order.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Self

from schemas.errors import WrongData, WrongRequest
from schemas.synthesize import How
from stages.synthesize.context import Context
from stages.synthesize.facts import Facts, fold, speakable

POOL = 5
"""popular and adversarial draw from this many first ranks (at least as many as asked for). POPE's test takes the first
ones as they are; for training that would ask every sample about the same few labels."""


@dataclass(frozen=True)
class Statistics:
    """Label frequencies and co-occurrence, in samples; labels folded. Memory: O(pairs that occur)."""

    samples: int = 0
    labels: dict[str, int] = field(default_factory=dict[str, int])
    together: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Symmetric: both ways round."""

    @classmethod
    def of(cls, label_sets: Iterable[Iterable[str | None]], vocabulary: Iterable[str] | None = None) -> Self:
        """Each item: the labels of one sample, repeats allowed. `vocabulary` bounds what is counted, and so the memory
        where labels come from the web."""
        known = None if vocabulary is None else {fold(label) for label in vocabulary}
        samples, labels = 0, Counter[str]()
        together: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for label_set in label_sets:
            samples += 1
            present = sorted({fold(label) for label in label_set if label and label.strip()})
            present = present if known is None else [label for label in present if label in known]
            labels.update(present)
            for a, b in combinations(present, 2):
                together[a][b] += 1
                together[b][a] += 1
        return cls(samples, dict(labels), {label: dict(others) for label, others in together.items()})

    def merged(self, other: "Statistics") -> "Statistics":
        """Of both data sets, which must share no sample."""
        together = {label: Counter(others) for label, others in self.together.items()}
        for label, others in other.together.items():
            together.setdefault(label, Counter()).update(others)
        labels = Counter(self.labels) + Counter(other.labels)
        return Statistics(self.samples + other.samples, dict(labels), {k: dict(v) for k, v in together.items()})

    def popular(self) -> list[str]:
        """Labels, most frequent first; ties by name."""
        return sorted(self.labels, key=lambda label: (-self.labels[label], label))

    def companions(self, present: Iterable[str]) -> list[str]:
        """Labels that occur with `present`, by the sum of their co-occurrences, most first; ties by name."""
        sums = Counter[str]()
        for label in sorted({fold(label) for label in present}):
            sums.update(self.together.get(label, {}))
        return sorted(sums, key=lambda label: (-sums[label], label))

    def to_json(self) -> str:
        """The same text for the same counts, whatever was merged in which order."""
        value = {"samples": self.samples, "labels": self.labels, "together": self.together}
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises WrongData on anything that `to_json` does not write."""
        remedy = "build it again with Statistics.of"
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise WrongData(f"label statistics are not JSON ({error})", remedy) from error
        if not isinstance(value, dict) or set(value) != {"samples", "labels", "together"}:
            raise WrongData("label statistics lack samples, labels or together", remedy)
        counts = [value["samples"], *_numbers(value["labels"])]
        tables = value["together"] if isinstance(value["together"], dict) else {"": None}
        counts += [count for table in tables.values() for count in _numbers(table)]
        if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
            raise WrongData("label statistics hold something that is not a count", remedy)
        return cls(**value)


def absent(context: Context, statistics: Statistics | None, rng: Random, how: How, n: int) -> list[str]:
    """Up to `n` labels of the vocabulary, folded, that are surely not in the picture; fewer where there are fewer.

    Raises WrongRequest where `how` needs statistics and there are none.
    """
    facts = Facts(context)
    known = facts.vocabulary
    if how is How.random:
        ranked = sorted(known)
        rng.shuffle(ranked)
    elif statistics is None:
        raise WrongRequest(f"{how} negatives need label statistics", "pass Statistics, or ask for random ones")
    elif how is How.popular:
        ranked = statistics.popular()
    else:
        ranked = statistics.companions(label for label in facts.labels if label)
    pool = max(n, 1 if how is How.random else POOL)
    found = _first(facts, [label for label in ranked if label in known and speakable(label)], pool)
    return found[:n] if how is How.random else rng.sample(found, min(n, len(found)))


def _first(facts: Facts, ranked: list[str], n: int) -> list[str]:
    found: list[str] = []
    for label in ranked:
        if len(found) == n:
            break
        if facts.absent(label):
            found.append(label)
    return found


def _numbers(table: object) -> list[object]:
    return list(table.values()) if isinstance(table, dict) else [None]
