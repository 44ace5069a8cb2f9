"""Every per-part stage by its name: what the stage laws are tested on (tests/stages/test_laws.py)."""

from stages.base import Stage
from stages.download.stage import Download
from stages.masks.rules import JudgeMasks
from stages.masks.stage import FindMasks
from stages.measure.registry import MEASURES
from stages.synthesize.stage import Synthesize

STAGES: dict[str, type[Stage]] = {
    stage.name: stage for stage in (Download, *MEASURES.values(), FindMasks, JudgeMasks, Synthesize)
}
"""In the order in which they run."""
