"""What a run did, step by step: files that only grow, and are cut back to the checkpoint when a run goes on.

RUN/record.jsonl      one StepRecord a line: its samples, loss per kind and per source
RUN/record.index      where each step's line begins: 8 bytes a step, little-endian
RUN/rejections.jsonl  one TrainRejection a line, with the step it was read for
"""

import json
from pathlib import Path
from typing import Any

from schemas.errors import WrongData, WrongRequest
from schemas.train_batch import TrainRejection
from schemas.train_loop import StepRecord

RECORD, INDEX, REJECTIONS = "record.jsonl", "record.index", "rejections.jsonl"
_PLACE = 8


class Appended:
    """A file that is added to, line by line; nothing is left in a buffer."""

    def __init__(self, path: Path, size: int) -> None:
        """Keep the first `size` bytes. Raises WrongData where there are fewer."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.size = path, size
        self._file = path.open("ab", buffering=0)
        if self._file.tell() < size:
            raise WrongData(
                f"{path} has {self._file.tell()} bytes, and the checkpoint says {size}",
                "it was cut: put it back, or start anew in another folder",
            )
        self._file.truncate(size)

    def add(self, data: bytes) -> None:
        """Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)

    def close(self) -> None:
        """Nothing more is added."""
        self._file.close()


class Record:
    """The files of one run, open to be added to."""

    def __init__(self, run: Path, sizes: dict[str, int]) -> None:
        """`sizes`: as the checkpoint has them, empty at the beginning of a run."""
        self.files = {name: Appended(run / name, sizes.get(name, 0)) for name in (RECORD, INDEX, REJECTIONS)}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {name: file.size for name, file in self.files.items()}

    def add(self, record: StepRecord, rejected: list[TrainRejection]) -> None:
        """A step, in order."""
        self.reject(record.step, rejected)
        place = self.files[RECORD].size.to_bytes(_PLACE, "little")
        self.files[RECORD].add(record.model_dump_json().encode() + b"\n")
        self.files[INDEX].add(place)

    def reject(self, step: int, rejected: list[TrainRejection]) -> None:
        """Conversations that were read for a step, or after the last, and not trained on."""
        lines = [json.dumps({"step": step, **one.model_dump(mode="json")}) + "\n" for one in rejected]
        self.files[REJECTIONS].add("".join(lines).encode())

    def close(self) -> None:
        """Nothing more is added."""
        for file in self.files.values():
            file.close()


def step_record(run: str | Path, step: int) -> StepRecord:
    """What a step trained on. Raises WrongRequest for a folder that is no run, and a step that it does not have."""
    folder = Path(run)
    try:
        index = (folder / INDEX).open("rb")
    except OSError as error:
        raise WrongRequest(f"{folder} is no training run", "give the folder of `pairmill train --out`") from error
    with index:
        have = index.seek(0, 2) // _PLACE
        if not 1 <= step <= have:
            raise WrongRequest(f"{folder} has no step {step}", f"it has {have} steps, counted from 1")
        index.seek((step - 1) * _PLACE)
        place = int.from_bytes(index.read(_PLACE), "little")
    with (folder / RECORD).open("rb") as lines:
        lines.seek(place)
        return StepRecord.model_validate_json(lines.readline())


def as_json(record: StepRecord) -> dict[str, Any]:
    """For a machine."""
    return record.model_dump(mode="json")
