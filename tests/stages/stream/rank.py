"""One rank of a run, as a process: writes down what it was given, batch by batch, until it ends or is killed.

python -m tests.stages.stream.rank CONFIG.json STATE.json LOG WORKERS      (RANK, WORLD_SIZE from the environment)
"""

import json
import sys
import time
from pathlib import Path

from schemas.stream import StreamConfig
from stages.stream.torch_stream import Stream


def main(config: str, state: str, log: str, workers: str) -> None:
    stream = Stream(StreamConfig.model_validate_json(Path(config).read_text()))
    if Path(state).exists():
        stream.load_state_dict(json.loads(Path(state).read_text()))
    with Path(log).open("a", buffering=1) as out:
        for batch in stream.loader(int(workers)):
            out.write(json.dumps([batch.start, stream.position, batch.sample_id]) + "\n")
            time.sleep(0.004)  # a step takes its time, so that a kill lands in one
        out.write(json.dumps(["end"]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
