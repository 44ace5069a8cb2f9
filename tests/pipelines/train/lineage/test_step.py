"""The samples of a step, and where they come from: a record written by hand, over builds made by hand."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import cli
from pipelines.index_folder import index_folder
from pipelines.manifest import write_manifest
from pipelines.train.lineage.step import explain_step
from pipelines.train.lineage.story import story
from pipelines.train.loop.card import datasets, write_card, write_config
from pipelines.train.loop.config_file import checked
from pipelines.train.loop.record import Record
from schemas.train_batch import TrainRejection
from schemas.train_loop import StepRecord, StepSample, TrainConfig
from stages.stream.source import open_source
from tests.builders import sid
from tests.finished import recipe
from tests.pipelines.talking import talk, talking

SAID = [
    [
        talk("what is this ?", "a ball\nin red", teacher="template"),
        talk("two ?", "no", kind="counting", teacher="big"),
    ],
    [talk("<image> or <image> ?", "two", kind="interleaved", images=[sid(1), sid(0)])],
    [],
]


def config(build: Path, text: str = "conversations") -> TrainConfig:
    data = {"sources": [{"path": str(build)}]}
    stage = {"name": "tune", "data": data, "batches": {"text": text, "ask": True}}
    return checked({"base": "nowhere", "stages": [stage]}, "a test")


def sample(number: int, conversation: int = 0, kind: str = "vqa", source: str = "build") -> StepSample:
    return StepSample(
        sample_id=sid(number), number=conversation, kind=kind, source=source, label_tokens=4, images=1, loss=6.0
    )


def step(number: int, samples: list[StepSample], **more: Any) -> StepRecord:
    counts = dict.fromkeys(("padding", "truncated", "cut_tokens"), 0)
    known = {"step": number, "stage": "tune", "stage_step": number, "loss": 1.5, "grad_norm": 1.0, "lr": 0.1}
    sums = {"label_tokens": 8, "tokens": 20, "images": 2, "rejected": {}, "kinds": {"vqa": 1.5}}
    return StepRecord(**{**known, **counts, **sums, "sources": {"build": 1.5}, "samples": samples, **more})


def rejection(number: int, reason: str, conversation: int = -1, detail: str = "") -> TrainRejection:
    return TrainRejection(
        position=0, sample_id=sid(number), source="build", number=conversation, kind="vqa", reason=reason, detail=detail
    )


def recorded(run: Path, made: TrainConfig, card: bool = True) -> Path:
    """Three steps, the second with rejections; and one that was read for a step 12."""
    run.mkdir()
    write_config(made, run)
    if card:
        sources = [open_source(source) for source in made.stages[0].data.sources]
        write_card(made, run, [{"data": datasets(sources), "learning": 1, "values": 2, "steps": 3}], [])
    record = Record(run, {})
    record.add(step(1, [sample(0, 1, "counting"), sample(1, 0, "interleaved")]), [])
    record.add(step(2, [sample(0)]), [rejection(2, "no_conversation"), rejection(0, "label_mismatch", 1, "a, not b")])
    record.add(step(3, [sample(1)]), [])
    record.reject(12, [rejection(1, "no_conversation")])
    record.close()
    return run


@pytest.fixture
def build(tmp_path: Path) -> Path:
    talking(tmp_path / "build", SAID)
    return tmp_path / "build"


@pytest.fixture
def run(build: Path, tmp_path: Path) -> Path:
    return recorded(tmp_path / "run", config(build))


def test_the_record_and_the_lineage_of_each_sample(run: Path) -> None:
    said = explain_step(run, 1)
    (origin,) = said["origins"]
    assert (said["stage"], said["loss"], origin["state"], origin["why"]) == ("tune", 1.5, "same", "")
    assert origin["manifest"] == origin["found"] and len(origin["manifest"]) == 64
    first, second = said["samples"]
    told = first["lineage"]
    assert (first["sample_id"], first["number"], first["label_tokens"], first["loss"]) == (sid(0), 1, 4, 6.0)
    assert (told["url"], told["caption"]) == ("http://host.test/0.png", "caption 0")
    assert told["conversation"] | {"teacher": "big", "prompt_version": 3, "kind": "counting"} == told["conversation"]
    assert told["turns"] == [
        {"role": "user", "text": "<image>\ntwo ?"}, {"role": "assistant", "text": "no"},
    ]  # fmt: skip
    assert told["measures"]["clip"]["clip_score"] == 0.3 and told["download"]["http_status"] == 200
    assert second["lineage"]["conversation"]["images"] == [sid(1), sid(0)]
    assert second["lineage"]["turns"][0]["text"] == "<image> or <image> ?"
    json.dumps(said, allow_nan=False)


def test_rejections_are_those_of_the_step(run: Path) -> None:
    assert explain_step(run, 1)["rejections"] == []
    found = explain_step(run, 2)["rejections"]
    assert [(one["sample_id"], one["reason"], one["detail"]) for one in found] == [
        (sid(2), "no_conversation", ""), (sid(0), "label_mismatch", "a, not b"),
    ]  # fmt: skip
    assert found[0]["lineage"]["url"] == "http://host.test/2.png"
    assert found[1]["lineage"]["conversation"]["teacher"] == "big"


def test_rules_are_named_with_what_they_read(tmp_path: Path) -> None:
    talking(tmp_path / "build", SAID)
    rules = [
        {"reason": "low_clip", "keep": "clip_score >= 0.2 AND aspect < 3"},
        {"reason": "small", "top": {"column": "width", "share": 0.5}},
    ]
    asked = recipe().model_dump(mode="json") | {"select": {"rules": rules}}
    (tmp_path / "build" / "recipe.yaml").write_text(yaml.safe_dump(asked))
    said = explain_step(recorded(tmp_path / "run", config(tmp_path / "build")), 1)
    low, small = said["samples"][0]["lineage"]["rules"]
    assert low == {
        "reason": "low_clip", "rule": "clip_score >= 0.2 AND aspect < 3", "values": {"clip_score": 0.3, "aspect": 1.0},
    }  # fmt: skip
    assert small == {"reason": "small", "rule": "top 0.5 of width", "values": {"width": 16}}
    assert "passed    small: top 0.5 of width" in story(said)


def test_of_captions_the_question_that_was_drawn_is_shown(build: Path, tmp_path: Path) -> None:
    said = explain_step(recorded(tmp_path / "run", config(build, "caption")), 2)
    told = said["samples"][0]["lineage"]
    assert told["conversation"] is None and told["turns"][1] == {"role": "assistant", "text": "caption 0"}
    assert told["turns"][0]["text"].startswith("<image>\n") and len(told["turns"][0]["text"]) > 12


def test_a_changed_build_is_named_and_the_record_shown(run: Path, build: Path) -> None:
    shutil.rmtree(build)
    store = talking(build, SAID)
    write_manifest(store, recipe(seed=4))
    said = explain_step(run, 2)
    (origin,) = said["origins"]
    assert origin["state"] == "changed" and origin["found"] in origin["why"] and origin["found"] != origin["manifest"]
    assert [one["lineage"] for one in (*said["samples"], *said["rejections"])] == [None] * 3
    text = story(said)
    assert f"changed: its manifest is {origin['found']} now" in text and sid(0) in text and "url" not in text


def test_other_shards_under_the_same_manifest_are_changed(run: Path, build: Path) -> None:
    shutil.rmtree(build)
    talking(build, [*SAID[:2], [talk("new ?", "yes")]])
    (origin,) = explain_step(run, 1)["origins"]
    assert (origin["state"], origin["manifest"]) == ("changed", origin["found"])


def test_a_build_that_is_gone_and_where_it_went(run: Path, build: Path, tmp_path: Path) -> None:
    build.rename(tmp_path / "elsewhere")
    said = explain_step(run, 1)
    assert said["origins"][0]["state"] == "gone" and str(build) in said["origins"][0]["why"]
    assert f"gone: there is no {build}" in story(said)
    (origin,) = explain_step(run, 1, [str(tmp_path / "elsewhere")])["origins"]
    assert (origin["name"], origin["state"], origin["path"]) == ("build", "same", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "manifest.json").unlink()
    (origin,) = explain_step(run, 1, [str(tmp_path / "elsewhere")])["origins"]
    assert origin["state"] == "gone" and "neither a finished build nor" in origin["why"]


def test_a_folder_of_shards_is_no_build(build: Path, tmp_path: Path) -> None:
    (tmp_path / "build2").mkdir()
    for tar in (build / "shards").glob("*.tar"):
        shutil.copy(tar, tmp_path / "build2")
    shutil.rmtree(build)
    (tmp_path / "build2").rename(build)
    index_folder(str(build))
    said = explain_step(recorded(tmp_path / "run", config(build)), 1)
    assert said["origins"][0]["state"] == "folder" and said["samples"][0]["lineage"] is None
    assert "a folder of WebDataset shards, not a build" in story(said)


def test_a_run_without_card_says_that_nobody_knows(build: Path, tmp_path: Path) -> None:
    said = explain_step(recorded(tmp_path / "run", config(build), card=False), 1)
    assert said["origins"][0]["state"] == "unnamed" and said["samples"][0]["lineage"]["url"]


def pairmill(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pairmill", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairmill(monkeypatch, "explain", "--step", "2", str(run)) == 0
    text = capsys.readouterr().out
    assert "step 2 of" in text and "teacher   template, prompt vqa version 3, en" in text
    assert "assistant a ball\\nin red" in text and "no_conversation 1 conversations" in text
    assert "label_mismatch" in text and "why       a, not b" in text
    assert pairmill(monkeypatch, "explain", "--step", "2", str(run), "--json") == 0
    assert json.loads(capsys.readouterr().out) == explain_step(run, 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--step", "4", "RUN"], "has no step 4; it has 3 steps"),
        (["--step", "0", "RUN"], "has no step 0"),
        (["--step", "1", "nowhere"], "nowhere is no training run"),
        (["--step", "1", "RUN", "3f2a"], "leave sample and --picture out"),
        (["RUN"], "no sample is named"),
        (["RUN", "3f2a", "--data", "b"], "--data is about the builds of a training run"),
    ],
)
def test_wrong_requests(
    run: Path, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pairmill(monkeypatch, "explain", *(str(run) if word == "RUN" else word for word in words)) == 2
    said = capsys.readouterr().err
    assert said.startswith("pairmill: ") and told in said and said.count("\n") == 1
