"""The process that test_kill kills."""

import sys
from pathlib import Path

from schemas.endpoint import EndpointConfig
from schemas.synthesize import BatchConfig
from stages.synthesize.endpoint.batch import BatchAsker
from stages.synthesize.endpoint.many import Asker
from stages.synthesize.endpoint.wire import Reply
from tests.stages.synthesize.endpoint.conftest import KEY, say, settings


def config(url: str) -> EndpointConfig:
    return settings(url, {"max_in_flight": 16}, prices={"prompt": "0.15", "completion": "0.6", "cached": "0.075"})


def batch_work(url: str, folder: Path, n: int) -> None:
    """The same by batches of 15."""
    batch = BatchConfig(requests=15, poll_s=0.02, wait_s=60)
    asker = BatchAsker(config(url), batch, folder, {"TEST_KEY": KEY}).open()
    found = asker.ask_all(say(f"q{i}") for i in range(n))
    asker.close()
    sys.exit(0 if all(isinstance(o, Reply) for o in found) else 3)


def work(url: str, folder: Path, n: int) -> None:
    """The child: asks for n replies; exit code 3 where one failed."""
    asker = Asker(config(url), folder, {"TEST_KEY": KEY}).open()
    found = asker.ask_all(say(f"q{i}") for i in range(n))
    asker.close()
    sys.exit(0 if all(isinstance(o, Reply) for o in found) else 3)
