"""States: small, comparable, and honest about data that changed."""

import json
from pathlib import Path

import pytest

from schemas.errors import WrongData, WrongRequest
from stages.stream.torch_stream import Stream
from tests.stages.stream.conftest import MakeBuild, config


def test_a_state_goes_through_json_and_resumes(make_build: MakeBuild) -> None:
    settings = config(make_build(samples=30), repeats=2)
    whole = [i for batch in Stream(settings) for i in batch.sample_id]
    first, got = Stream(settings), []
    for batch in first:
        got += batch.sample_id
        if first.position >= 24:
            break
    second = Stream(settings)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert got + [i for batch in second for i in batch.sample_id] == whole


def test_cursors_are_draws_of_each_source(make_build: MakeBuild) -> None:
    stream = Stream(config(make_build("a", 30), make_build("b", 10)))
    state = stream.state_dict(24)
    drawn = {r.source: r.drawn for r in stream.report(24)}
    assert {name: s["cursor"] for name, s in state["sources"].items()} == drawn
    assert sum(drawn.values()) == 24 and 17 <= drawn["a"] <= 19


def test_a_dataset_may_move(make_build: MakeBuild) -> None:
    path = make_build("build", 12)
    state = Stream(config(path)).state_dict(4)
    Path(path).parent.joinpath("elsewhere").mkdir()
    moved = Path(path).rename(Path(path).parent / "elsewhere" / "build")
    stream = Stream(config(str(moved)))
    stream.load_state_dict(state)
    assert stream.position == 4


def test_a_changed_dataset_is_refused_and_named(make_build: MakeBuild, tmp_path: Path) -> None:
    state = Stream(config(make_build("old/build", 12))).state_dict(4)
    changed = Stream(config(make_build("new/build", 16)))
    with pytest.raises(WrongData, match=r"build: 1 new \(shards/train-000003.tar\), 3 changed .*samples 12 → 16"):
        changed.load_state_dict(state)


def test_a_change_that_is_allowed_is_recorded(make_build: MakeBuild) -> None:
    state = Stream(config(make_build("old/build", 12))).state_dict(4)
    stream = Stream(config(make_build("new/build", 16)))
    stream.load_state_dict(state, allow_changed=True)
    assert stream.state_dict()["changes"][0].startswith("at 4: build: 1 new (shards/train-000003.tar)")


@pytest.mark.parametrize(("setting", "value"), [("seed", 1), ("window", 2), ("shuffle", False), ("repeats", 5.0)])
def test_another_order_is_refused(make_build: MakeBuild, setting: str, value: object) -> None:
    path = make_build(samples=12)
    state = Stream(config(path)).state_dict(4)
    with pytest.raises(WrongRequest, match=f"another stream: setting .*{setting}"):
        Stream(config(path, **{setting: value})).load_state_dict(state)


@pytest.mark.parametrize(("setting", "value"), [("batch", 7), ("check", False), ("decode", {"size": 64})])
def test_what_is_not_order_may_change(make_build: MakeBuild, setting: str, value: object) -> None:
    path = make_build(samples=12)
    state = Stream(config(path)).state_dict(4)
    Stream(config(path, **{setting: value})).load_state_dict(state)


def test_a_state_of_another_format_is_refused(make_build: MakeBuild) -> None:
    stream = Stream(config(make_build(samples=4)))
    with pytest.raises(WrongRequest, match="format 99"):
        stream.load_state_dict({**stream.state_dict(), "format": 99})
