"""One process of a run for test_kill: writes a digest of every batch, then its state, to a log.

    python -m tests.pipelines.train.batches.rank BUILD STATE LOG

STATE: the file to go on from, where there is one. The log ends with `end`.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import torch

from pipelines.train.batches.batches import Batches
from schemas.stream import SourceConfig, StreamConfig
from schemas.train_batch import BatchConfig
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.pipelines.train.batches.saying import pixels
from tests.pipelines.train.batches.tokenizers_of import VICUNA, tokenizer


def main(build: str, state: Path, log: Path) -> None:
    torch.set_num_threads(1)
    stream = Stream(StreamConfig(sources=[SourceConfig(path=build, repeats=2)], seed=3, window=2))
    config = BatchConfig(max_length=128, row_length=160, window=6, max_bad_share=0.5)
    batches = Batches(stream, tokenizer(template=VICUNA), pixels(), config, Topology())
    if state.exists():
        batches.load_state_dict(json.loads(state.read_text()))
    with log.open("a") as out:
        for batch in batches:
            found = hashlib.sha256()
            for tensor in (batch.input_ids, batch.labels, batch.position_ids, *batch.pixels.values()):
                found.update(tensor.numpy().tobytes())
            told = [found.hexdigest(), batch.sample_ids, [r.reason for r in batch.rejected], batches.state_dict()]
            out.write(json.dumps(told) + "\n")
            out.flush()
            time.sleep(0.01)
        out.write('"end"\n')


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
