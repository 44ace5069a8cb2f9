"""`pairmill demo --train`: what it learns from, and what it says of what it learnt."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines import demo_train
from pipelines.train.evaluate.generate import answers
from pipelines.train.evaluate.held_out import HeldOut, questions, right, sample_of
from pipelines.train.evaluate.trained import trained
from pipelines.train.loop.record import step_record
from schemas.train_loop import TrainConfig
from stages.store import Store
from tests.conftest import Cli


def brief(out: str) -> TrainConfig:
    """The projector alone, and a step of everything."""
    config = demo_train.demo_config(out)
    stages = [stage.model_copy(update={"steps": n}) for stage, n in zip(config.stages, (12, 1), strict=True)]
    return config.model_copy(update={"stages": stages, "threads": 1})


@pytest.fixture(scope="module")
def learnt(without_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> demo_train.Learnt:
    out = tmp_path_factory.mktemp("demo") / "build"
    shutil.copytree(without_clip, out)
    return demo_train.train_demo(str(out), lambda words: None, brief(str(out)))


def test_it_learns_beside_the_build_from_its_train_split_alone(learnt: demo_train.Learnt, without_clip: Path) -> None:
    assert learnt.run.name == "build-run"
    assert sorted(p.name for p in (learnt.run / "stages").iterdir()) == ["align", "instruct"]
    seen = {sample.sample_id for step in range(1, 14) for sample in step_record(learnt.run, step).samples}
    held_out = {sample_of(q) for q in questions(Store(str(without_clip)), HeldOut())}
    assert seen and held_out and not seen & held_out


def test_all_that_is_held_out_is_asked(learnt: demo_train.Learnt, without_clip: Path) -> None:
    asked = list(questions(Store(str(without_clip)), HeldOut()))
    assert learnt.rows[0].name == "all" and learnt.rows[0].count == len(asked)
    assert {row.name for row in learnt.rows} >= {question.subset for question in asked}


def test_a_person_sees_questions_answers_and_what_was_right(learnt: demo_train.Learnt) -> None:
    lines = demo_train.shown(learnt.said)
    pictures = {sample_of(answer.question) for answer in learnt.said}
    assert [line for line in lines if line.startswith("picture ")] == [
        f"picture {p}" for p in dict.fromkeys(sample_of(answer.question) for answer in learnt.said)
    ] and pictures
    for answer in learnt.said:
        (line,) = {one for one in lines if " ".join(answer.question.text.split()) in one and answer.text in one}
        assert ("(written: " in line) == (answer.text != answer.question.answers[0])


def test_a_second_time_nothing_is_learnt_anew(learnt: demo_train.Learnt) -> None:
    before = (learnt.run / "record.jsonl").read_bytes()
    out = str(learnt.run.with_name("build"))
    again = demo_train.train_demo(out, lambda words: None, brief(out))
    assert (learnt.run / "record.jsonl").read_bytes() == before
    assert again.rows == learnt.rows


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_chain(cli: Cli, tmp_path: Path) -> None:
    """Held-out questions are answered, and about another picture they are not."""
    said = json.loads(cli("demo", "--train", "--out", str(tmp_path / "demo"), "--json"))
    everything = next(row for row in said["training"]["rows"] if row["name"] == "all")
    assert everything["count"] > 500
    assert everything["values"]["accuracy"] >= 0.88
    assert everything["values"]["shuffled"] <= everything["values"]["majority"] + 0.1
    found = trained(said["training"]["run"])
    some = questions(Store(str(tmp_path / "demo")), HeldOut(most=10))
    again = list(answers(found.built, some, found.asking(max_new_tokens=40)))
    assert sum(map(right, again)) >= 0.7 * len(again)
