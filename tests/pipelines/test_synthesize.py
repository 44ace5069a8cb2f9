"""Conversations in a build: what is made again and what is not, every sample's account, money, kills."""

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.build import build
from pipelines.estimate_synthesis import forecast_asking
from pipelines.explain import explain, story
from pipelines.ledger import COUNTS
from pipelines.plan import make_plan
from pipelines.recipe_file import load
from pipelines.run_late import kept_rows
from pipelines.stats import stats
from pipelines.synthesis_stats import synthesis_summary
from pipelines.verify import verify
from schemas.errors import HandedIn, Stopped, WrongRequest
from schemas.stream import SourceConfig, StreamConfig
from schemas.synthesize import SynthesizeConfig
from stages.store import Store
from stages.stream.batches import BatchReader
from stages.synthesize.endpoint.many import Asker
from tests.conftest import RECIPE, Cli, Web, sets
from tests.pipelines.asking import rows
from tests.pipelines.test_kill import NO_CLIP, result
from tests.stages.synthesize.endpoint.batches import BatchServer
from tests.stages.synthesize.endpoint.server import COMPLETION, PROMPT, Do, Seen, Server, completion, error

GOOD = json.dumps(
    {
        "exchanges": [
            {"question": "What is this?", "answer": "It is a picture with shapes.", "evidence": ["caption"]},
            {"question": "What is it like?", "answer": "It is plain and tidy.", "evidence": []},
        ]
    }
)
PER_REQUEST = PROMPT + COMPLETION
Script = Callable[[Server, Seen], Do]


@pytest.fixture
def folder(without_clip: Path, tmp_path: Path) -> Path:
    """A build of one's own, all done."""
    return Path(shutil.copytree(without_clip, tmp_path / "build"))


def settings(web: Web, *more: str) -> list[str]:
    return [*web.settings, *NO_CLIP, "engine.kind=local", *more]


def teacher(server: Server, **endpoint: Any) -> list[str]:
    """Settings that ask `server` for one conversation about each sample."""
    timing = {"backoff_s": 0.01, "breaker_s": 0.02, "backoff_most_s": 0.05, "request_s": 1.0, "tries": 2, "refusals": 2}
    prices = {"prompt": 1, "completion": 2}
    about: dict[str, Any] = {"base_url": server.url, "model": "m", "api_key_env": None, "prices": prices}
    about |= {"timing": timing | endpoint.pop("timing", {}), "max_tokens": 50, **endpoint}
    config = {"teacher": "model", "kinds": ["conversation"], "endpoint": about, "vocabulary": []}
    return [f"synthesize.{name}={json.dumps(value)}" for name, value in config.items()]


def run(web: Web, folder: Path, *more: str) -> Store:
    store = Store(str(folder))
    build(load(str(RECIPE), settings(web, *more)), store)
    return store


def selected(store: Store) -> int:
    return rows(store, "SELECT count(*) FROM selection WHERE kept")[0][0]


def good(server: Server, seen: Seen) -> Do:
    return Do(body=completion(GOOD))


# ------------------------------------------------------------------------------------------------ what is made


def test_conversations_are_in_the_shards_and_in_sql(without_clip: Path) -> None:
    store = Store(str(without_clip))
    kept = rows(store, "SELECT sample_id, len(conversations) FROM synthesized WHERE conversations IS NOT NULL")
    assert verify(store).ok and len(kept) == selected(store)
    assert rows(store, "SELECT count(*) FROM conversations") == [(sum(n for _, n in kept),)]
    documents = list(_documents(without_clip))
    assert {d["sample_id"]: len(d["conversations"]) for d in documents} == dict(kept)
    turns = next(d for d in documents if d["conversations"])["conversations"][0]["turns"]
    assert turns[0]["role"] == "user" and turns[1]["evidence"]
    assert all("dropped" not in d for d in documents)


def _documents(folder: Path) -> Iterator[dict[str, Any]]:
    import webdataset as wds

    for tar in sorted(folder.glob("shards/*.tar")):
        for sample in wds.WebDataset(str(tar), shardshuffle=False).decode():
            yield sample["json"]


def test_a_sample_without_a_conversation_is_rejected_and_accounted_for(web: Web, folder: Path) -> None:
    store = run(web, folder, "synthesize.require=true")
    without = rows(store, "SELECT count(*) FROM synthesized WHERE len(conversations) = 0")[0][0]
    assert without > 0
    lines = [line for line in pq.read_table(folder / COUNTS).to_pylist() if line["stage"] == "synthesize"]
    assert [(x["reason"], x["rejected"]) for x in lines] == [(None, without), ("nothing_to_say", without)]
    assert verify(store).ok
    assert [(x.stage, x.kept, x.rejected) for x in stats(store)][-1] == (
        "synthesize",
        selected(store) - without,
        {"nothing_to_say": without},
    )


def test_another_threshold_writes_only_where_other_rows_are_kept(web: Web, folder: Path) -> None:
    store = Store(str(folder))
    before = [kept_rows(store, part).to_pylist() for part in range(6)]
    files = {p.name: p.stat().st_mtime_ns for p in (folder / "conversations").iterdir()}
    run(web, folder, "select.rules.too_small.keep=width > 150")
    after = [kept_rows(store, part).to_pylist() for part in range(6)]
    written = {p.name for p in (folder / "conversations").iterdir() if files[p.name] != p.stat().st_mtime_ns}
    assert written == {f"{part:05d}.parquet" for part in range(6) if before[part] != after[part]}
    assert verify(store).ok


def test_without_synthesize_its_files_belong_to_no_build(web: Web, folder: Path) -> None:
    store = run(web, folder, "synthesize=null")
    assert not store.exists("final.parquet") and not store.exists("groups/labels.parquet")
    assert verify(store).ok and "conversations" not in next(_documents(folder))


def test_a_rejection_said_to_be_another_stage_s_is_found(web: Web, folder: Path) -> None:
    run(web, folder, "synthesize.require=true")
    path = folder / "final.parquet"
    table = pq.read_table(path)
    at = table["stage"].to_pylist().index("synthesize")
    stage = table["stage"].to_pylist()
    stage[at] = "select"
    column = table.schema.get_field_index("stage")
    pq.write_table(table.set_column(column, table.schema.field(column), [stage]), path)
    found = {f.file: f.what for f in verify(Store(str(folder))).findings}
    part = table["part"][at].as_py()
    assert "has values in rows that an earlier stage rejected" in found[f"conversations/{part:05d}.parquet"]
    assert {"final.parquet", COUNTS, "ledger/00000.parquet"} <= found.keys()


def test_a_mixture_of_kinds_is_streamed(without_clip: Path) -> None:
    sources = [
        SourceConfig(
            path=str(without_clip),
            name=kind,
            where=f"sample_id IN (SELECT sample_id FROM conversations WHERE kind = '{kind}')",
            weight=weight,
        )
        for kind, weight in (("relation", 3.0), ("counting", 1.0))
    ]
    drawn: dict[int, set[str]] = {0: set(), 1: set()}
    for batch in BatchReader(StreamConfig(sources=sources, members=["json"], batch=4)):
        for source, document in zip(batch.source, batch.members["json"], strict=True):
            kinds = {talk["kind"] for talk in json.loads(bytes(document or b""))["conversations"]}
            assert ("relation", "counting")[source] in kinds
            drawn[int(source)].update(kinds)
    assert all(drawn.values())


# ------------------------------------------------------------------------------------------------ asking a model


def test_a_model_is_asked_once_for_each_sample_and_never_again(web: Web, folder: Path) -> None:
    with Server(good) as server:
        store = run(web, folder, *teacher(server))
        first = result(folder)
        asked = {seen.text for seen in server.seen}
        # two samples with the same captions and boxes are asked about once
        assert len(server.seen) == len(asked) and 0.9 * selected(store) < len(asked) <= selected(store)
        shutil.rmtree(folder / "conversations")
        run(web, folder, *teacher(server))
        assert len(server.seen) == len(asked)
    again = result(folder)
    assert {n: h for n, h in again.items() if not n.startswith("replies/")} == {
        n: h for n, h in first.items() if not n.startswith("replies/")
    }
    summary = synthesis_summary(store)
    assert summary is not None and summary.total.kept == selected(store)
    assert summary.total.prompt_tokens == PROMPT * selected(store) and verify(store).ok
    told = story(explain(store, rows(store, "SELECT sample_id FROM conversations LIMIT 1")[0][0]))
    assert "assistant: It is plain and tidy." in told and "by m, en" in told


def test_a_cap_stops_the_build_and_a_higher_one_goes_on(web: Web, folder: Path) -> None:
    with Server(good) as server:
        # a reservation is an upper bound of a request: thousands of tokens of prompt, of which the server says 20
        cap = 20_000
        with pytest.raises(Stopped, match=r"cap.*run the same command again"):
            run(web, folder, *teacher(server, caps={"tokens": cap}, timing={"max_in_flight": 2}, max_tokens=18_000))
        asked = len(server.seen)
        assert 0 < asked * PER_REQUEST <= cap
        store = run(web, folder, *teacher(server, caps={"tokens": 1000 * cap}, max_tokens=18_000))
        assert len(server.seen) == len({seen.text for seen in server.seen}) > asked and verify(store).ok


def test_a_plan_says_what_asking_costs_and_what_is_paid_already(web: Web, folder: Path, cli: Cli) -> None:
    with Server(good) as server:
        asking = ["plan", str(RECIPE), "--out", str(folder), "--json", *sets(settings(web, *teacher(server)))]
        before = json.loads(cli(*asking))["estimate"]
        assert server.seen == []
        store = run(web, folder, *teacher(server))
        after = json.loads(cli(*asking))["estimate"]
    assert before["requests"] == before["samples"] == selected(store) and not before["at_most"]
    assert before["money"] > 0 and before["tokens"] > 100 * before["requests"]
    assert (after["requests"], after["tokens"], after["money"]) == (0, 0, 0.0)


def test_a_plan_counts_the_pictures_that_a_teacher_will_see(web: Web, folder: Path) -> None:
    def tokens(sees: str) -> int:
        more = [*teacher(server), f"synthesize.sees={sees}"]
        asking = forecast_asking(make_plan(load(str(RECIPE), settings(web, *more)), Store(str(folder))))
        assert asking is not None
        return asking.tokens

    with Server(good) as server:
        assert tokens("both") > tokens("text") + 50 * selected(Store(str(folder)))
        assert server.seen == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (error(401, "Incorrect API key provided", code="invalid_api_key"), "valid key"),
        (error(404, "The model `m` does not exist", code="model_not_found"), "has no model 'm'"),
    ],
)
def test_what_is_wrong_for_all_stops_at_once(web: Web, folder: Path, answer: Do, says: str) -> None:
    with Server(lambda server, seen: answer) as server:
        with pytest.raises(WrongRequest, match=says):
            run(web, folder, *teacher(server))
        assert len(server.seen) <= 8  # those that were sent before the first answer came


EVIL: list[tuple[str | None, Do]] = [
    (None, Do(body=completion(GOOD))),
    ("rate_limited", error(429, "slow down", headers={"retry-after": "0"})),
    ("rate_limited", error(429, "slow down")),
    ("server_error", error(500, "oops")),
    ("timeout", Do(body=completion(GOOD), delay=9)),
    ("reset", Do(body=completion(GOOD), cut=40)),
    ("reset", Do(reset=True)),
    ("invalid_json", Do(body=b"<html>")),
    ("malformed", Do(body=b"[]")),
    ("empty_choices", Do(body=b'{"choices": []}')),
    ("too_large", Do(body=b"x" * 65_536, repeat=99)),
    ("bad_schema", Do(body=completion('{"exchanges": 3}'))),
    ("bad_schema", Do(body=completion("I think that"))),
    ("truncated", Do(body=completion(GOOD[:90], "length"))),
    ("refusal", Do(body=completion("", refusal="I can't help with that."))),
    ("content_filter", error(400, "filtered", code="content_filter")),
    ("bad_request", error(400, "no")),
]
"""Reason that a sample ends with → what its request gets, every time."""


def test_an_evil_endpoint_leaves_every_sample_kept_or_rejected(web: Web, folder: Path) -> None:
    dealt: dict[str, int] = {}

    def evil(server: Server, seen: Seen) -> Do:
        return EVIL[dealt.setdefault(seen.text, len(dealt)) % len(EVIL)][1]

    with Server(evil) as server:
        timing = {"breaker_after": 10_000, "drain_s": 0.1}
        more = {"structured": "none", "reply_bytes_most": 65_536, "timing": timing}
        store = run(web, folder, "synthesize.require=true", *teacher(server, **more))
    report = verify(store)
    assert report.ok and report.unaccounted == 0
    wanted = Counter(EVIL[i % len(EVIL)][0] for i in range(len(dealt)))
    found = dict(rows(store, "SELECT reason, count(*) FROM synthesized WHERE dropped IS NOT NULL GROUP BY ALL"))
    assert found.keys() == wanted.keys() and sum(found.values()) == selected(store)
    assert all(found[reason] >= wanted[reason] for reason in wanted)  # some samples share their request


def test_a_dead_endpoint_stops_the_build_and_rejects_nobody(web: Web, folder: Path) -> None:
    with Server(lambda server, seen: error(503, "down")) as server:
        timing = {"breaker_after": 3, "breaker_probes": 2}
        with pytest.raises(Stopped, match="does not answer"):
            run(web, folder, *teacher(server, timing=timing))
    store = Store(str(folder))
    assert not store.exists("manifest.json") and synthesis_summary(store) is not None
    with Server(good) as server:
        assert verify(run(web, folder, *teacher(server))).ok


def test_an_object_store_needs_a_folder_for_replies(web: Web) -> None:
    with Server(good) as server, pytest.raises(WrongRequest, match=r"synthesize\.replies"):
        make_plan(load(str(RECIPE), settings(web, *teacher(server))), Store("memory://nowhere"))


def test_batches_of_all_parts_are_handed_in_before_any_is_waited_for(web: Web, folder: Path) -> None:
    with BatchServer(good, work_s=1.0) as server:
        asking = [*teacher(server), "synthesize.batch.poll_s=0.1"]
        with pytest.raises(HandedIn, match="run the same command again"):
            run(web, folder, *asking, "synthesize.batch.wait_s=0")
        assert len(server.jobs) == 6 and not (folder / "manifest.json").exists()
        store = run(web, folder, *asking, "synthesize.batch.wait_s=60")
        assert len(server.jobs) == 6 and len(server.seen) == len({seen.text for seen in server.seen})
    summary = synthesis_summary(store)
    assert summary is not None and summary.total.kept == selected(store) and verify(store).ok
    # 20 tokens at 1 and 7 at 2 per million, at half the price
    assert summary.total.pico == selected(store) * (PROMPT + 2 * COMPLETION) * 10**6 // 2


# ------------------------------------------------------------------------------------------------ kills


def killed(web: Web, folder: Path, cli: Cli, times: int) -> None:
    """SIGKILL a build that asks a counting server, `times` times, then let it end; hold the account to the server's."""
    draw = random.Random(times)
    asked: Counter[str] = Counter()

    def counted(server: Server, seen: Seen) -> Do:
        asked[seen.text] += 1
        return Do(body=completion(GOOD), delay=draw.uniform(0.05, 0.15))

    with Server(counted) as server:
        settled = teacher(server, timing={"first_in_flight": 4, "max_in_flight": 4, "request_s": 20})
        command = ["build", str(RECIPE), "--out", str(folder), "--json", *sets(settings(web, *settled))]
        for _ in range(times):
            before, process = len(server.seen), cli.start(*command)
            while len(server.seen) == before and process.poll() is None:
                time.sleep(0.02)
            time.sleep(draw.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        cli(*command)
        delivered = Counter(seen.text for seen in server.delivered)
    store = Store(str(folder))
    config = load(str(RECIPE), settings(web, *settled)).recipe.synthesize
    account = _account(config, folder)
    kept = account.replies
    assert kept == len(asked) and verify(store).ok
    # a reply is on disk before it is used and never asked for again; what was in flight at a kill is known to be open
    assert account.tokens == PER_REQUEST * kept
    assert sum(delivered.values()) - kept <= sum(asked.values()) - kept <= len(account.open) <= 4 * times


def _account(config: SynthesizeConfig | None, folder: Path) -> Any:
    assert config is not None and config.endpoint is not None
    asker = Asker(config.endpoint, folder / "replies").open()
    try:
        return asker.endpoint.budget.account
    finally:
        asker.close()


def test_kills_pay_twice_only_what_was_in_flight(web: Web, folder: Path, cli: Cli) -> None:
    killed(web, folder, cli, 2)


@pytest.mark.slow
def test_twenty_kills_pay_twice_only_what_was_in_flight(web: Web, folder: Path, cli: Cli) -> None:
    killed(web, folder, cli, 20)
