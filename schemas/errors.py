"""The three ways a command can fail on purpose.

`WrongRequest` ends a command with exit code 2: the recipe, the flag or the folder asked for is wrong.
`WrongData` ends it with 1: the request was fine and the data is not what it should be.
`Stopped` ends it with 1, too: what is done is kept, and the same command goes on later.
All messages are one line that names the thing and says the remedy. Anything else is a bug and keeps its traceback.
"""

from typing import Any


class PairmillError(Exception):
    """Base of the errors a person is meant to read; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}; {remedy}" if remedy else what)

    def __reduce__(self) -> "str | tuple[Any, ...]":
        """Errors travel from workers: rebuild from the constructor's own arguments."""
        return (type(self), (self.what, self.remedy))


class WrongRequest(PairmillError):
    """The request is wrong: exit 2."""

    exit_code = 2


class WrongData(PairmillError):
    """The data is not what it should be: exit 1."""

    exit_code = 1


class Stopped(PairmillError):
    """Nothing is wrong, and the rest has to wait: a cap, an endpoint that is down. The same command goes on: exit 1."""

    exit_code = 1


class HandedIn(Stopped):
    """Work is done elsewhere and not done yet: a provider's batches."""


class StageBug(WrongData):
    """A stage raised on a sample where it should have returned a reason. Carries where."""

    def __init__(self, stage: str, part: int, sample_id: str | None, cause: str) -> None:
        self.stage = stage
        self.part = part
        self.sample_id = sample_id
        self.cause = cause
        named = f"sample {sample_id}" if sample_id else "a batch, but on none of its rows alone"
        super().__init__(
            f"stage {stage} failed on {named} of part {part:05d}: {cause}",
            "this is a bug in the stage, not in the data: run `pairmill explain BUILD SAMPLE_ID` and report it",
        )

    def __reduce__(self) -> "str | tuple[Any, ...]":
        return (StageBug, (self.stage, self.part, self.sample_id, self.cause))
