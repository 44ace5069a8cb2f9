"""The page of a build: one file that asks for nothing, the same for the same build, with what is there and no more."""

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.commands.report import report
from pipelines.recipe_file import Loaded, keep_copies
from pipelines.report.page import page
from pipelines.report.pictures import LARGE_BYTES, THUMB_BYTES, Place, data_url, look
from schemas.errors import WrongData, WrongRequest
from schemas.ledger import Selected
from schemas.mask import Mask
from schemas.masks_config import MaskRules, MasksConfig
from schemas.recipe import DedupConfig, NearConfig, Recipe, SelectConfig
from schemas.rules import Rule
from schemas.synthesize import SynthesizeConfig
from stages.families import FINAL, family_schema, part_file
from stages.masks.rle import encode
from stages.store import Store, sealed
from tests.builders import Rejected, sample, sid, write_duplicates, write_rows
from tests.builders import build as families
from tests.finished import finished, mixed, recipe, rewrite
from tests.pipelines.talking import jpeg, talk

HOSTILE = '</figcaption><script>alert(1)</script><img src=x onerror="alert(2)">" onload="alert(3)\x1b[2J\u202egnp'
SID = sid(6)


class Page(HTMLParser):
    """A page as a browser sees it: elements, attributes, text; fails where an element is closed that is not open."""

    VOID = ("meta", "img")

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.open: list[str] = []
        self.feed(html.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def sections(self) -> list[str | None]:
        return [of["id"] for of in self.all("section")]


def put(store: Store, family: str, part: int, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=family_schema(family))
    store.write_table(part_file(family, part), table, sealed(table, "test", family))


def with_recipe(store: Store, **more: Any) -> Recipe:
    asked = recipe().model_copy(update=more)
    keep_copies(store, Loaded(asked, "."), ["pool.parquet"])
    return asked


# ------------------------------------------------------------------------------------------------ a whole build


def test_a_real_build_is_one_page_that_asks_for_nothing(without_clip: Path) -> None:
    store = Store(str(without_clip))
    data = page(store)
    assert page(store) == data, "the same build has the same page"
    found = Page(data)
    assert found.sections[:3] == ["survival", "rules", "duplicates"] and "conversations" in found.sections
    assert found.all("script") == [] and found.all("link") == []
    assert all((of["src"] or "").startswith("data:image/jpeg;base64,") for of in found.all("img"))
    assert all((of["href"] or "").startswith("#") for of in found.all("a"))
    assert any("default-src 'none'" in (of.get("content") or "") for of in found.all("meta"))
    assert len(found.all("img")) > 30 and len(data) < 5_000_000
    assert str(without_clip) not in data.decode() and "Unfinished" not in found.text
    assert "240" in found.text and "too_many_pixels" in found.text


def test_an_object_store_has_the_same_page(tmp_path: Path) -> None:
    local, remote = finished(tmp_path / "build", *mixed()), Store("memory://reports/build")
    with_recipe(local, select=SelectConfig(rules=[Rule(reason="dull", keep="clip_score >= 0.28")]))
    for name in local.walk():
        remote.write_bytes(name, local.read_bytes(name))
    try:
        assert page(remote) == page(local)
        report("memory://reports/build", None, True)
        assert Store("memory://reports").read_bytes("build-report.html") == page(remote)
    finally:
        remote.fs.rm("/reports", recursive=True)


def test_an_unfinished_build_says_so_and_shows_what_is_there(without_clip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(without_clip, tmp_path / "build"))
    for name in ("manifest.json", "selection.parquet", "final.parquet", "measures/pdq/00005.parquet"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "conversations", ignore_errors=True)
    found = Page(page(Store(str(folder))))
    assert found.sections == ["survival", "duplicates"]
    assert "Unfinished." in found.text and "measure/pdq 5" in found.text and "not decided yet" in found.text
    shutil.rmtree(folder / "groups")
    for family in ("parts", "measures", "ledger", "shards"):
        shutil.rmtree(folder / family)
    assert Page(page(Store(str(folder)))).sections == ["survival"]


def test_a_stale_measure_leaves_the_rules_out(tmp_path: Path) -> None:
    store = finished(tmp_path / "build", *mixed())
    with_recipe(store, select=SelectConfig(rules=[Rule(reason="dull", keep="clip_score >= 0.28")]))
    assert "rules" in Page(page(store)).sections
    store.remove("measures/clip/00002.parquet")
    assert "rules" not in Page(page(store)).sections


# ------------------------------------------------------------------------------------------------ hostile text


def test_text_from_the_web_stays_text(tmp_path: Path) -> None:
    hostile = sample(6, image=jpeg(6), caption=HOSTILE, url="javascript:alert(4)")
    rows = [hostile, *(sample(i, image=jpeg(i), caption="x" * 100_000) for i in range(7, 9))]
    dropped = {7: Rejected("select", "dull", 0.1, 0.28)}
    store = finished(tmp_path / "build", rows, dropped)
    with_recipe(
        store,
        select=SelectConfig(rules=[Rule(reason="dull", keep="clip_score >= 0.28 AND caption <> '<b>'")]),
        synthesize=SynthesizeConfig(vocabulary=["thing"]),
    )
    said = talk("<b>bold?</b>\nyes", HOSTILE, kind="<i>kind</i>", teacher=HOSTILE, rejected=HOSTILE, planted=HOSTILE)
    gone = {"kind": "vqa", "teacher": HOSTILE, "reason": "leak", "turn": 1, "evidence": HOSTILE, "text": HOSTILE * 50}
    conversations = {"conversations": [said.model_dump()], "dropped": [gone | {"usage": None}]}
    put(store, "conversations", 0, [{"sample_id": sid(6), **conversations}, *({"sample_id": sid(i)} for i in (7, 8))])
    data = page(store)
    found = Page(data)
    assert {"script", "b ", "i"}.isdisjoint(name for name, _ in found.elements)
    assert all("onerror" not in of and "onload" not in of for _, of in found.elements)
    assert all(of["src"] != "x" for of in found.all("img"))
    assert "alert(1)" in found.text and "<b>bold?</b>" in found.text, "it is shown, as text"
    assert b"\x1b" not in data and "\u202e" not in data.decode()
    assert "x" * 200 not in found.text and len(data) < 100_000


# ------------------------------------------------------------------------------------------------ rules


def test_each_rule_shows_its_threshold_and_the_pictures_next_to_it(tmp_path: Path) -> None:
    scores = [0.1, 0.2, 0.27, 0.29, 0.3, 0.9]
    rows = [sample(i, clip_score=score, image=jpeg(i)) for i, score in enumerate(scores)]
    gone = {i: Rejected("select", "dull", scores[i], 0.28, "clip_score >= 0.28") for i in range(3)}
    store = finished(tmp_path / "build", [*rows, sample(6, rejected=Rejected("download", "timeout"))], gone)
    rules = [Rule(reason="dull", keep="clip_score >= 0.28"), Rule(reason="odd", keep="aspect < 2 OR channels = 3")]
    with_recipe(store, select=SelectConfig(rules=rules))
    found = Page(page(store))
    assert "3 of 6 rows fall (50 %)" in found.text and "needs ≥ 0.28" in found.text
    assert "clip_score (cosine, −1–1)" in found.text
    assert found.text.index("Fall, nearest") < found.text.index("0.27 caption 2") < found.text.index("Pass, nearest")
    assert found.text.index("Pass, nearest") < found.text.index("0.29 caption 3") < found.text.index("0.9 caption 5")
    assert "Rules without a figure rule condition rows that reached it fall odd" in found.text
    assert [of["alt"] for of in found.all("img")] == [f"caption {i}" for i in range(6)]
    bars = [text for text in found.said if re.match(r".* to .*: \d+ row", text)]
    assert sum("of them fall" in bar for bar in bars) == 3 and len(bars) == 5


def test_a_selection_of_other_rows_is_wrong_data(tmp_path: Path) -> None:
    store = finished(tmp_path / "build", *mixed())
    with_recipe(store, select=SelectConfig(rules=[Rule(reason="dull", keep="clip_score >= 0.28")]))
    rows = store.read_table("selection.parquet").to_pylist()
    for wrong in (rows[:-1], [*rows[1:], rows[0]]):
        write_rows(store, "selection.parquet", Selected, wrong)
        with pytest.raises(WrongData, match="other rows than the pool"):
            page(store)


def test_an_unfinished_build_shows_no_rules_that_it_was_not_selected_by(tmp_path: Path) -> None:
    store = finished(tmp_path / "build", *mixed())
    old, new = (SelectConfig(rules=[Rule(reason="dull", keep=f"clip_score >= {least}")]) for least in (0.28, 0.31))
    table = store.read_table("selection.parquet")
    rewrite(store, "selection.parquet", table, identity={"stage": "select", "config": old.decisive()})
    store.remove("manifest.json")
    with_recipe(store, select=old)
    assert "clip_score >= 0.28" in Page(page(store)).text
    with_recipe(store, select=new)
    text = Page(page(store)).text
    assert "clip_score" not in text and "other rules than the recipe has now" in text


# ------------------------------------------------------------------------------------------------ pictures


def exif(orientation: int) -> bytes:
    """40 × 20 pixels as stored: left half red, right half blue."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 255
    file, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(pixels).save(file, "JPEG", exif=tags, quality=95)
    return file.getvalue()


def test_pictures_are_shown_upright_and_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    rows = [
        sample(0, image=exif(6), orientation=6),
        sample(1, image=jpeg(1)[:200]),
        sample(2, rejected=Rejected("download", "timeout")),
        sample(3, image=exif(1), caption=None),
    ]
    store = families(tmp_path / "build", rows, part_rows=3)
    places = [Place(0, 0, sid(0)), Place(0, 1, sid(1)), Place(0, 2, sid(2)), Place(1, 0, sid(3))]
    seen = look(store, places)
    upright = seen[sid(0)].rgb
    assert upright is not None and upright.shape == (40, 20, 3), "turned by a quarter"
    assert upright[5, 10, 0] > 200 and upright[35, 10, 0] < 60, "what was left is on top"
    assert seen[sid(1)].rgb is None and seen[sid(1)].why.startswith("cannot be shown: ")
    assert (seen[sid(2)].rgb, seen[sid(2)].why) == (None, "no picture")
    assert seen[sid(3)].caption == ""
    store.remove("parts/00001.tar")
    assert look(store, places)[sid(3)].why == "parts/00001.tar is missing"


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 4000, 3), (900, 1200, 3)])
def test_a_picture_is_small_and_has_few_bytes(shape: tuple[int, ...], tmp_path: Path) -> None:
    noise, file = np.random.default_rng(1).integers(0, 256, shape, np.uint8), io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    store = families(tmp_path / "build", [sample(0, image=file.getvalue())])
    rgb = look(store, [Place(0, 0, sid(0))])[sid(0)].rgb
    assert rgb is not None and max(rgb.shape) <= 160 and min(rgb.shape) >= 1
    assert len(data_url(rgb, THUMB_BYTES)) <= 24 + THUMB_BYTES * 4 / 3 + 4
    assert data_url(noise[:384, :384], LARGE_BYTES) == data_url(noise[:384, :384], LARGE_BYTES)


# ------------------------------------------------------------------------------------------------ the other sections


def test_duplicates_say_what_links_them_and_who_survived(tmp_path: Path) -> None:
    rows = [sample(i, image=jpeg(i)) for i in range(5)]
    gone = {1: Rejected("select", "duplicate", 0.0, 0.0, f"{sid(0)} (exact)"), 3: Rejected("select", "dull")}
    store = finished(tmp_path / "build", rows, gone)
    links = [(0, 0, "exact", 0.0, 1), (1, 0, "exact", 0.0, 0), (2, 2, "near", 12.0, 3), (3, 2, "near", 12.0, 2)]
    write_duplicates(
        store,
        [
            {"sample_id": sid(a), "group": sid(group), "kind": kind, "distance": distance, "linked_to": sid(b)}
            for a, group, kind, distance, b in links
        ],
    )
    with_recipe(store, dedup=DedupConfig(near=NearConfig(radius=31)))
    found = Page(page(store))
    assert found.sections == ["survival", "duplicates"]
    assert "2 groups with 4 members; by their nearest link: 2 exact, 2 near" in found.text
    assert f"survived exact to {sid(1)[:12]} caption 0" in found.text
    assert f"dropped as duplicate exact to {sid(0)[:12]} caption 1" in found.text
    assert f"rejected: dull near, distance 12 to {sid(2)[:12]} caption 3" in found.text
    assert "linked ≤ 31" in found.text and "differing bits" in found.text


def masks_of(number: int, side: int) -> dict[str, Any]:
    """One mask over the upper left part of a picture of 24 × (24 + number) pixels."""
    pixels = np.zeros((24 + number, 24), np.bool_)
    pixels[:side, :side] = True
    facts = {"mask_count": 1, "mask_largest": side * side, "box_agreement": side / 24, "mask_clip": None}
    share = side * side / pixels.size
    plain = {
        "prompt_index": 0,
        "point_x": None,
        "point_y": None,
        "predicted_iou": None,
        "stability": None,
        "score": None,
    }
    box = {"x": 0, "y": 0, "w": side, "h": side, "area": side * side, "best": True}
    mask = Mask(label="<u>thing</u>", prompt="box", rle=encode(pixels), **plain, **box)
    return {"sample_id": sid(number), "masks": [mask.model_dump()], "mask_coverage": share, **facts}


def test_masks_are_drawn_measured_and_counted(tmp_path: Path) -> None:
    store = finished(tmp_path / "build", [sample(i, image=jpeg(i)) for i in range(3)])
    with_recipe(store, masks=MasksConfig(backend="grabcut", prompt="box", keep=MaskRules(agreement=0.5)))
    none = {"masks": [], "mask_count": 0, "mask_largest": 0, "mask_coverage": 0.0}
    put(store, "masks", 0, [masks_of(0, 20), masks_of(1, 6), {"sample_id": sid(2), **none}])
    verdicts = [("box_disagrees", 0.25, 0.5), ("no_mask", 0.0, 0.0)]
    judged = [{"sample_id": sid(0), "mask_rules": 2}]
    for i, (reason, value, threshold) in enumerate(verdicts, 1):
        more = {"reason": reason, "value": value, "threshold": threshold}
        judged.append({"sample_id": sid(i), "mask_rules": 2, **more})
    put(store, "masked", 0, judged)
    rows = store.read_table("selection.parquet").to_pylist()
    for row, (reason, _, _) in zip(rows[1:], verdicts, strict=True):
        row |= {"kept": False, "stage": "masks/rules", "reason": reason}
    write_rows(store, FINAL, Selected, rows)
    found = Page(page(store))
    assert found.sections == ["survival", "masks"]
    assert "3 pictures looked at, by grabcut: 2 have masks (66.7 %), 2 masks in all." in found.text
    assert "Fell by the rules of masks.keep: box_disagrees 1; no_mask 1." in found.text
    assert "needs ≥ 0.5" in found.text and "box_agreement (IoU, 0–1)" in found.text
    assert "1 mask, 69.4 % of the picture, box agreement 0.83 caption 0" in found.text
    assert "box_disagrees: 0.25 against 0.5 1 mask" in found.text
    sizes = [(of["width"], of["height"]) for of in found.all("img")]
    assert sizes == [("384", "384"), ("369", "384")], "kept, then fallen; no picture of what has no mask"


def test_conversations_of_each_kind_and_each_reason_are_shown(tmp_path: Path) -> None:
    store = finished(tmp_path / "build", [sample(i, image=jpeg(i)) for i in range(6)])
    with_recipe(store, synthesize=SynthesizeConfig(vocabulary=["thing"]))
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.5}

    def of(i: int) -> dict[str, Any]:
        kept = [talk(f"Q{i}a", f"A{i}a"), talk(f"Q{i}b", f"A{i}b")] if i % 2 else []
        kept += [talk(f"Q{i}c", "A", kind="counting")] if i == 4 else []
        gone = {"kind": "vqa", "teacher": "m", "reason": "leak", "turn": 1, "evidence": f"says caption {i}"}
        dropped = [gone | {"text": None, "usage": usage}] if i in (2, 3) else []
        return {"sample_id": sid(i), "conversations": [c.model_dump() for c in kept], "dropped": dropped}

    put(store, "conversations", 0, [of(i) for i in range(4)])
    put(store, "conversations", 1, [of(i) for i in (4, 5)])
    found = Page(page(store))
    assert found.sections == ["survival", "conversations"]
    asked = [text for text in found.said if re.fullmatch(r"Q\d[abc]", text)]
    assert asked == ["Q4c", "Q1a", "Q3a", "Q5a"], "by kind, then by sample; one of a sample"
    assert [text for text in found.said if text.startswith("says caption")] == ["says caption 2", "says caption 3"]
    assert "leak in turn 2:" in found.text and "leak 2" in found.text
    assert "4 of 6 samples have a conversation; 7 of 9 conversations were kept." in found.text
    assert re.search(r"They cost 1\.0\d, \d+\.?\d* % of it for what was dropped", found.text)


# ------------------------------------------------------------------------------------------------ the command


def test_the_page_lies_beside_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = finished(tmp_path / "build", *mixed())
    report(f"{tmp_path}/build/")
    out = tmp_path / "build-report.html"
    assert capsys.readouterr().out == f"{out} ({out.stat().st_size / 1e6:.2f} MB)\n"
    report(f"{tmp_path}/build", str(tmp_path / "deep" / "page.html"), True)
    said = json.loads(capsys.readouterr().out)
    assert said == {"report": str(tmp_path / "deep" / "page.html"), "bytes": out.stat().st_size}
    assert (tmp_path / "deep" / "page.html").read_bytes() == out.read_bytes() == page(store)


def test_a_build_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path / "build", *mixed())
    monkeypatch.chdir(tmp_path / "build")
    report(".")
    assert (tmp_path / "build-report.html").stat().st_size


@pytest.mark.parametrize("out", ["build/page.html", "build/logs/page.html", ".", "", "build/../build/x.html"])
def test_where_no_page_can_be(out: str, tmp_path: Path) -> None:
    store = finished(tmp_path / "build", *mixed())
    before = store.walk()
    with pytest.raises(WrongRequest):
        report(f"{tmp_path}/build", f"{tmp_path}/{out}")
    assert store.walk() == before


def test_a_folder_that_is_no_build(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="not a build folder") as refused:
        report(str(tmp_path))
    assert refused.value.exit_code == 2
    (tmp_path / "recipe.yaml").write_text("name: x\npool: {paths: [x]}\n")
    with pytest.raises(WrongRequest, match="holds no build"):
        report(str(tmp_path))
    assert not list(tmp_path.parent.glob("*-report.html"))
