"""`pairmill evaluate` of builds: the loss of what was kept from training, and whether it was kept from it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from pipelines.train.evaluate.generate import Asker
from pipelines.train.evaluate.held_out import HeldOut, questions
from pipelines.train.evaluate.kept_out import Asked, as_json, kept_out
from pipelines.train.evaluate.loss import held_out_loss, loss_rows, trained_on
from pipelines.train.evaluate.trained import Trained, trained
from pipelines.train.models import Built
from schemas.errors import WrongData, WrongRequest
from schemas.evaluate import GenerateConfig
from schemas.stream import SourceConfig
from schemas.train import LanguageConfig
from schemas.train_batch import BatchConfig, TextFrom
from schemas.train_loop import StepSample
from stages.store import Store
from tests.builders import sid
from tests.pipelines.talking import talk, talking
from tests.pipelines.train.evaluate import tiny_run
from tests.pipelines.train.evaluate.conftest import Pairmill
from tests.pipelines.train.loop import runs

VAL = "val"


@pytest.fixture(scope="module")
def model(tiny: Path) -> Trained:
    return trained(str(tiny), device="cpu")


def held_out(kept: Path) -> list[int]:
    """Numbers of the samples in split val."""
    table = Store(str(kept)).read_table("shards/index.parquet", ["sample_id", "split"]).to_pylist()
    return sorted(int(row["sample_id"], 16) for row in table if row["split"] == VAL)


def by_hand(model: Trained, kept: Path) -> tuple[float, int]:
    """Summed cross entropy and tokens of the written answers, and their ends, each question asked by itself."""
    built, asker, total, tokens = model.built, Asker(model.built, GenerateConfig()), 0.0, 0
    for question in questions(Store(str(kept)), HeldOut(teachers=None)):
        prompt = asker._prompt(question)
        assert not isinstance(prompt, str)
        said = built.tokenizer(question.answers[0] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt.ids.tolist(), *said]])
        with torch.no_grad():
            logits = built.model(input_ids=ids, **built.pictures([prompt.pictures])).logits[0]
        found = functional.cross_entropy(logits[len(prompt.ids) - 1 : -1], torch.tensor(said), reduction="sum")
        total, tokens = total + float(found), tokens + len(said)
    return total, tokens


def test_the_loss_is_that_of_each_written_answer(model: Trained, kept: Path) -> None:
    source = SourceConfig(path=str(kept), split=VAL)
    found = held_out_loss(model.built, [source], BatchConfig(max_length=96), rows=3)
    total, tokens = by_hand(model, kept)
    everything = found.rows[0]
    assert (everything.by, everything.label_tokens) == ("all", tokens)
    assert everything.loss == pytest.approx(total / tokens, rel=1e-4)
    talking_samples = [n for n in held_out(kept) if n < tiny_run.SAMPLES - 1]
    assert [(row.name, row.conversations) for row in found.rows[1:]] == [
        ("detail", len(talking_samples)), ("vqa", len(talking_samples)),
    ]  # fmt: skip
    assert found.sample_ids == {sid(n) for n in talking_samples}
    assert found.rejected["pair"] == len(talking_samples)
    alone = held_out_loss(model.built, [source], BatchConfig(max_length=96), rows=1)
    assert [row.loss for row in alone.rows] == pytest.approx([row.loss for row in found.rows], rel=1e-5)


def test_rows_are_means_over_label_tokens() -> None:
    def one(kind: str, source: str, tokens: int, loss: float) -> StepSample:
        return StepSample(
            sample_id=sid(0), number=0, kind=kind, source=source, label_tokens=tokens, images=1, loss=loss
        )

    found = loss_rows([one("vqa", "b", 1, 3.0), one("caption", "a", 3, 3.0), one("vqa", "a", 1, 1.0)])
    assert [(row.by, row.name, row.conversations, row.label_tokens, row.loss) for row in found] == [
        ("all", "all", 3, 5, 1.4), ("kind", "caption", 1, 3, 1.0), ("kind", "vqa", 2, 2, 2.0),
        ("source", "b", 1, 1, 3.0), ("source", "a", 2, 4, 1.0),
    ]  # fmt: skip


def test_a_stage_of_captions_is_judged_by_captions(builder: Callable[..., Built], kept: Path, tmp_path: Path) -> None:
    runs.language(tmp_path / "bytes")  # the captions are no words of the other
    built = builder(language_config=LanguageConfig(model=str(tmp_path / "bytes")))
    source = SourceConfig(path=str(kept), split=VAL)
    found = held_out_loss(built, [source], BatchConfig(text=TextFrom.caption, template="plain"))
    assert [(row.name, row.conversations) for row in found.rows] == [
        (name, len(held_out(kept))) for name in ("all", "caption")
    ]


def test_samples_that_a_stage_learnt_from(tmp_path: Path) -> None:
    tiny_run.learnt_from(tmp_path, {"align": [1, 2], "tune": [2, 3]})
    asked = frozenset({sid(2), sid(3), sid(9)})
    assert (trained_on(tmp_path, "align", asked), trained_on(tmp_path, "tune", asked)) == (1, 2)


def test_some_samples_and_both_tables(model: Trained, tiny: Path, kept: Path) -> None:
    tiny_run.learnt_from(tiny, {"align": [0], "tune": held_out(kept)})
    few = kept_out(model, Asked((str(kept),), most=2, settings={"max_new_tokens": 2}))
    assert len(few.loss.sample_ids) <= 2 and few.trained_on == len(few.loss.sample_ids)
    (rows,) = few.answers.values()
    assert rows[0].count == 4 and rows[0].values.keys() == {"accuracy", "exact", "majority", "shuffled"}
    assert any(f"learnt from {few.trained_on} of these" in note and "NOT held out" in note for note in few.notes)
    told = as_json(few, model, Asked((str(kept),)))
    assert told["trained_on"] == few.trained_on and told["answers"]["own"][0]["count"] == 4


def test_a_build_of_models_alone_is_not_asked(model: Trained, tmp_path: Path) -> None:
    talking(tmp_path / "b", [[talk("red ?", "yes")] for _ in range(8)], val_share=0.5)
    found = kept_out(model, Asked((str(tmp_path / "b"),)))
    assert found.answers == {} and "no template wrote a conversation of split val" in found.notes[0]


def test_two_builds_of_one_name_are_told_apart(model: Trained, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "own")
    found = kept_out(model, Asked((str(kept), str(tmp_path / "own")), most=1, settings={"max_new_tokens": 1}))
    assert set(found.answers) == {str(kept), str(tmp_path / "own")}
    assert [row.name for row in found.loss.rows if row.by == "source"] == [str(kept), str(tmp_path / "own")]


def test_what_cannot_be_evaluated(model: Trained, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="has no split 'test'; it has: train, val"):
        kept_out(model, Asked((str(kept),), split="test"))
    with pytest.raises(WrongRequest, match="is no finished build"):
        kept_out(model, Asked((str(tmp_path),)))
    with pytest.raises(WrongRequest, match="a saved model names no builds"):
        kept_out(Trained(model.built, None, None), Asked())
    talking(tmp_path / "silent", [[] for _ in range(8)], val_share=0.5)
    with pytest.raises(WrongData, match="no conversation"):
        kept_out(model, Asked((str(tmp_path / "silent"),)))


def test_the_command(tiny: Path, kept: Path, pairmill: Pairmill) -> None:
    tiny_run.learnt_from(tiny, {"tune": [n for n in range(tiny_run.SAMPLES) if n not in held_out(kept)]})
    short = ("--max-new-tokens", "2", "--most", "2", "--device", "cpu")
    code, out, _ = pairmill("evaluate", tiny, *short)
    assert code == 0 and "Held-out loss, split val" in out and "Answers, own" in out
    assert "perplexity" in out and "shuffled" in out and "learnt from 0 of these" in out
    code, out, _ = pairmill("evaluate", tiny, kept, *short, "--json")
    told = json.loads(out)
    assert (code, told["stage"], told["split"], told["trained_on"]) == (0, "tune", "val", 0)
    assert [row["name"] for row in told["loss"]] == ["all", "detail", "vqa"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--files", "there"], "--files and --images are a benchmark's"),
        (["--benchmark", "pope"], "--benchmark pope without its files"),
        (["BUILD", "--benchmark", "pope", "--files", "there"], "--benchmark pope and a build"),
        (["--benchmark", "coco", "--files", "there"], "there is no benchmark 'coco'"),
        (["--stage", "nope"], "has not done stage nope"),
    ],
)
def test_wrong_requests(words: list[str], told: str, tiny: Path, kept: Path, pairmill: Pairmill) -> None:
    code, out, err = pairmill("evaluate", tiny, *(str(kept) if word == "BUILD" else word for word in words))
    assert (code, out) == (2, "") and err.startswith("pairmill: ") and told in err and err.count("\n") == 1
