"""A wrong recipe is one line that names the key and the remedy."""

from pathlib import Path

import pytest
import yaml

from pipelines.recipe_file import keep_copies, load, resolved_model, runtime_part
from schemas.errors import WrongRequest
from stages.store import Store

GOOD = {"name": "x", "pool": {"paths": ["p.parquet"]}}


def write(folder: Path, data: object) -> str:
    path = folder / "recipe.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return str(path)


def test_defaults_are_spelled_out(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, GOOD))
    assert loaded.base == str(tmp_path)
    assert loaded.recipe.download.max_redirects == 5 and loaded.recipe.measure.clip is None


CASES = [
    ("name: [", "is not YAML at line 1"),
    ("- a", "is not a mapping"),
    ({**GOOD, "pools": 1}, "unknown key 'pools'; did you mean 'pool'?"),
    ({**GOOD, "download": {"max_byte": 1}}, "unknown key 'download.max_byte'; did you mean 'max_bytes'?"),
    ({**GOOD, "shards": {"max_samples": "many"}}, "'shards.max_samples'"),
    ({**GOOD, "shards": {"max_samples": 0}}, "'shards.max_samples'"),
    ({"name": "x"}, "'pool' is missing"),
    ({**GOOD, "name": "../up"}, "'name'"),
    ({**GOOD, "select": {"rules": [{"reason": "r"}]}}, "exactly one of keep, top, quantile"),
]


@pytest.mark.parametrize(("data", "message"), CASES, ids=[m for _, m in CASES])
def test_wrong_recipe_names_the_key(tmp_path: Path, data: object, message: str) -> None:
    with pytest.raises(WrongRequest) as caught:
        load(write(tmp_path, data))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_recipe() -> None:
    with pytest.raises(WrongRequest, match=r"recipe 'no\.yaml' does not exist"):
        load("no.yaml")


def test_set_overrides_by_key_index_and_reason(tmp_path: Path) -> None:
    rules = [{"reason": "a", "keep": "width > 1"}, {"reason": "b", "keep": "width > 2"}]
    path = write(tmp_path, {**GOOD, "select": {"rules": rules}})
    recipe = load(path, ["shards.seed=5", "select.rules.b.keep=width > 9", "select.rules.0.keep=width > 8"]).recipe
    assert recipe.shards.seed == 5
    assert [r.keep for r in recipe.select.rules] == ["width > 8", "width > 9"]


@pytest.mark.parametrize("override", ["shards.seed", "select.rules.zz.keep=1", "name.x=1", "shards.sede=1"])
def test_bad_override_is_refused(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, {**GOOD, "select": {"rules": [{"reason": "a", "keep": "width > 1"}]}})
    with pytest.raises(WrongRequest):
        load(path, [override])


def test_runtime_settings_decide_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    a, b = (
        load(path),
        load(path, ["engine.workers=4", "download.concurrency=3", "download.connect_to={'*': '127.0.0.1:1'}"]),
    )
    assert a.recipe != b.recipe and a.recipe.decisive() == b.recipe.decisive()
    assert runtime_part(b.recipe)["download"]["concurrency"] == 3


def test_the_builds_own_copy_builds_the_same(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, GOOD), ["download.concurrency=3", "shards.seed=4"])
    store = Store(str(tmp_path / "build"))
    keep_copies(store, loaded, ["p.parquet"])
    again = load(store.path("recipe.yaml"))
    assert again.recipe == loaded.recipe and again.base == loaded.base
    assert "concurrency" not in store.read_bytes("recipe.yaml").decode()


def test_local_models_are_relative_to_the_recipe(tmp_path: Path) -> None:
    assert resolved_model("local-dir:../m", str(tmp_path / "r")) == f"local-dir:{tmp_path / 'm'}"
    assert resolved_model("ViT-B-32", "/x") == "ViT-B-32"
