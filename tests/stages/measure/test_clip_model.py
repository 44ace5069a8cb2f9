"""Naming a CLIP: what is refused, what its identity depends on, and what it must not import."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import WrongRequest
from schemas.recipe import ClipConfig
from stages.measure import clip_model
from stages.measure.clip import ClipMeasure
from tests.stages.measure.builders import encoded, picture, pixels


def describe(**config) -> dict:
    return clip_model.describe(ClipConfig(**config))


# ---------------------------------------------------------------- requests that are wrong


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": "ViT-B-23", "pretrained": "openai"}, "'ViT-B-23' is unknown to open_clip; did you mean ViT-B-32"),
        ({"model": "qqqq"}, "'qqqq' is unknown to open_clip; see open_clip.list_models"),
        ({"model": "ViT-B-32"}, "needs clip.pretrained; without it the weights would be random"),
        ({"model": "ViT-B-32", "pretrained": "opanai"}, "'opanai' is no tag of ViT-B-32; tags are: openai"),
        ({"model": "ViT-B-32", "pretrained": "no/such.pt"}, "there is no file 'no/such.pt'"),
        ({"model": "local-dir:/no/such"}, "there is no folder '/no/such'"),
        ({"model": "hf-hub:just-a-name"}, "is not hf-hub:ORGANISATION/NAME"),
        ({"model": "hf-hub:a/b", "pretrained": "openai"}, "has no meaning beside 'hf-hub:a/b'"),
    ],
)
def test_wrong_names(config: dict, message: str) -> None:
    with pytest.raises(WrongRequest) as caught:
        clip_model.check(ClipConfig(**config))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "open_clip_config.json").unlink(), "open_clip_config.json is missing"),
        (lambda d: (d / "open_clip_config.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "open_clip_config.json").write_text("{}"), "has no model_cfg"),
        (lambda d: (d / "open_clip_model.safetensors").unlink(), "has no weights"),
    ],
)
def test_wrong_folders(clip_copy: Path, spoil, message: str) -> None:
    spoil(clip_copy)
    with pytest.raises(WrongRequest, match=message):
        clip_model.check(ClipConfig(model=f"local-dir:{clip_copy}"))


def test_weights_of_another_model_are_a_wrong_request_in_one_line(clip_copy: Path) -> None:
    config = json.loads((clip_copy / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 24
    (clip_copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WrongRequest, match="cannot be loaded") as caught:
        ClipMeasure(ClipConfig(model=f"local-dir:{clip_copy}")).open()
    assert "\n" not in str(caught.value)


def test_a_torn_weights_file_is_a_wrong_request(clip_copy: Path) -> None:
    weights = clip_copy / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WrongRequest, match="cannot be loaded"):
        ClipMeasure(ClipConfig(model=f"local-dir:{clip_copy}")).open()


# ---------------------------------------------------------------- identity


def test_identity_does_not_depend_on_where_the_folder_lies(clip_name: str, clip_copy: Path) -> None:
    a, b = (ClipMeasure(ClipConfig(model=m)).identity() for m in (clip_name, f"local-dir:{clip_copy}"))
    assert a == b
    assert str(clip_copy.parent) not in json.dumps(b)


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"])
def test_identity_depends_on_every_file_of_the_model(clip_copy: Path, name: str) -> None:
    (clip_copy / "tokenizer.json").write_text("{}")
    before = describe(model=f"local-dir:{clip_copy}")
    (clip_copy / name).write_bytes((clip_copy / name).read_bytes() + b" ")
    after = describe(model=f"local-dir:{clip_copy}")
    changed = {k for k in before["files"] if before["files"][k] != after["files"][k]}
    assert changed == {name}


def test_a_card_beside_the_model_changes_nothing(clip_copy: Path) -> None:
    before = describe(model=f"local-dir:{clip_copy}")
    (clip_copy / "README.md").write_text("changed")
    (clip_copy / "card.json").write_text("{}")
    assert describe(model=f"local-dir:{clip_copy}") == before


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"batch_size": 65}, False),
        ({"threads": 2}, False),
        ({"precision": "bf16"}, False),
        ({"precision": "fp32"}, True),
        ({"device": "cuda"}, False),
        ({"device": "cpu"}, True),
    ],
)
def test_identity_holds_what_changes_the_last_bits(clip_name: str, change: dict, same: bool, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # auto is cpu and fp32
    base, other = (ClipMeasure(ClipConfig(model=clip_name, **c)).identity() for c in ({}, change))
    assert (base == other) is same
    assert {"torch", "open-clip-torch", "pillow", "simplejpeg"} <= set(base["libraries"])


def test_a_checkpoint_path_is_described_by_its_hash(tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"weights")
    found = describe(model="ViT-B-32", pretrained=str(weights))
    expected = hashlib.sha256(b"weights").hexdigest()
    assert found == {"name": "ViT-B-32", "files": {"checkpoint": expected}}


# ---------------------------------------------------------------- a folder with a Hugging Face tokenizer


@pytest.fixture
def with_tokenizer(clip_copy: Path) -> str:
    """The tiny model reading words through tokenizer.json; [END] has the highest id, where open_clip pools."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[START]", "a", "cat", "dog", "and", "[END]"])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [("[START]", ids["[START]"]), ("[END]", ids["[END]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[START] $A [END]", special_tokens=special)
    tokenizer.save(str(clip_copy / "tokenizer.json"))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[START]", "eos_token": "[END]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 20, **names}
    (clip_copy / "tokenizer_config.json").write_text(json.dumps(settings))
    config = json.loads((clip_copy / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "."
    (clip_copy / "open_clip_config.json").write_text(json.dumps(config))
    return f"local-dir:{clip_copy}"


def test_a_folders_own_tokenizer_is_used_and_hashed(with_tokenizer: str) -> None:
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(describe(model=with_tokenizer)["files"])
    stage = ClipMeasure(ClipConfig(model=with_tokenizer))
    stage.open()
    captions = ["a cat", "a dog", "a cat [END] and a dog", "a cat and a dog", "a bird", "a fish"]
    scores = stage.process(pixels([encoded(picture())] * len(captions), captions)).table["clip_score"].to_pylist()
    stage.close()
    assert scores[0] != pytest.approx(scores[1], abs=1e-6)
    assert scores[2] == pytest.approx(scores[3], abs=1e-6)  # the special token's spelling is taken out
    assert scores[4] == pytest.approx(scores[5], abs=1e-6)  # unknown words are one token: it is this tokenizer


# ---------------------------------------------------------------- hub models, from a cache laid out by hand


@pytest.fixture
def hub(tmp_path: Path, clip_name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds org/tiny; the network is switched off."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--org--tiny"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("a" * 40)
    for path in Path(clip_name.removeprefix("local-dir:")).iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    return snapshot


def test_a_cached_hub_model_is_hashed_and_loads(hub: Path, clip_name: str) -> None:
    config = ClipConfig(model="hf-hub:org/tiny")
    local = describe(model=clip_name)
    assert describe(model="hf-hub:org/tiny") == {"name": "hf-hub:org/tiny", "pretrained": None, "files": local["files"]}
    clip_model.fetch(config)
    stage = ClipMeasure(config)
    stage.open()
    stage.close()


def test_a_hub_model_without_weights_is_not_used_with_random_ones(hub: Path) -> None:
    (hub / "open_clip_model.safetensors").unlink()
    config = ClipConfig(model="hf-hub:org/tiny")
    assert describe(model="hf-hub:org/tiny")["not_fetched"] is True
    with pytest.raises(WrongRequest, match="cannot be fetched"):
        clip_model.fetch(config)
    with pytest.raises(WrongRequest, match="cannot be loaded"):
        ClipMeasure(config).open()


def test_a_tag_is_described_by_the_cached_file(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: {"hf_hub": "org/tiny/"})
    found = describe(model="ViT-B-32", pretrained="openai")
    assert found["files"] == {"open_clip_model.safetensors": _sha256(hub / "open_clip_model.safetensors")}


def test_a_tag_that_is_not_cached_says_so(hub: Path) -> None:
    found = describe(model="ViT-B-32", pretrained="openai")
    assert found == {"name": "ViT-B-32", "pretrained": "openai", "files": {}, "not_fetched": True}
    with pytest.raises(WrongRequest, match="ViT-B-32 openai cannot be fetched"):
        clip_model.fetch(ClipConfig(model="ViT-B-32", pretrained="openai"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- device, imports


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_auto_is_cpu_where_the_gpus_are_hidden(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0")]))
    assert clip_model.device_kind("auto") == "cpu"


def test_auto_is_cuda_where_a_gpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0")]))
    assert clip_model.device_kind("auto") == "cuda"


def test_planning_with_a_local_model_imports_no_model_library(clip_name: str) -> None:
    code = (
        "import sys; from schemas.recipe import *; from stages.measure.registry import make;"
        "[make(n, c).identity() for n, c in [('image', ImageConfig()), ('caption', CaptionConfig()),"
        f" ('pdq', PdqConfig()), ('clip', ClipConfig(model={clip_name!r}))]];"
        "heavy = {'torch', 'open_clip', 'transformers', 'cv2', 'PIL', 'ray'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
