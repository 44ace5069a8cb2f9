"""The Batch API: the same outcomes and account as one by one, whatever becomes of a batch."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from schemas.endpoint import EndpointConfig
from schemas.errors import Stopped, WrongRequest
from schemas.synthesize import BatchConfig
from stages.synthesize.endpoint.batch import BatchAsker
from stages.synthesize.endpoint.book import Book
from stages.synthesize.endpoint.money import Account
from stages.synthesize.endpoint.wire import Failure, FailureReason, Reply, Request
from tests.stages.synthesize.endpoint.batches import BatchServer
from tests.stages.synthesize.endpoint.conftest import KEY, say, settings
from tests.stages.synthesize.endpoint.server import (
    COMPLETION,
    PROMPT,
    Do,
    Seen,
    Server,
    completion,
    echo,
    error,
    response,
)

EACH = PROMPT + COMPLETION
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@contextmanager
def asker(config: EndpointConfig, folder: Path, **batch: Any) -> Iterator[BatchAsker]:
    made = BatchAsker(config, BatchConfig(**{"poll_s": 0.02, "wait_s": 20, **batch}), folder, {"TEST_KEY": KEY}).open()
    try:
        yield made
    finally:
        made.close()


def says(n: int) -> list[Request]:
    return [say(f"q{i}") for i in range(n)]


def paid_once(server: BatchServer) -> bool:
    return max(Counter(s.text for s in server.delivered).values()) == 1


def test_replies_come_in_order_at_the_discount_and_are_cached(tmp_path):
    with BatchServer(work_s=0.1) as server:
        config = settings(server.url, prices={"prompt": "1", "completion": "2"})
        with asker(config, tmp_path, requests=4) as one:
            outcomes = one.ask_all([*says(10), say("q0")])
            assert [o.text for o in outcomes] == [f"re: q{i}" for i in range(10)] + ["re: q0"]
            assert not any(o.cached for o in outcomes) and str(outcomes[0].cost) == "0.000017"  # half of 20 + 2 × 7
            assert one.budget.account.tokens == 10 * EACH and str(one.budget.spent) == "0.00017"
            assert [o.cached for o in one.ask_all([say("q3"), say("new")])] == [True, False]
    assert len(server.jobs) == 4 and paid_once(server)  # 4 + 4 + 2, then one
    assert {p.suffix for p in tmp_path.iterdir()} == {".log", ""}


def test_a_file_is_split_by_bytes_and_a_request_beyond_it_fails_alone(tmp_path):
    with BatchServer() as server, asker(settings(server.url), tmp_path, bytes=1024) as one:
        outcomes = one.ask_all([*(say("x" * 300 + str(i)) for i in range(5)), say("y" * 2000)])
        sizes = [len(server.files[job.file]) for job in server.jobs]
    assert all(isinstance(o, Reply) for o in outcomes[:5]) and max(sizes) <= 1024 and len(sizes) == 3
    assert outcomes[5].reason == FailureReason.bad_request and "1024" in outcomes[5].evidence


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_what_an_unfinished_batch_left_is_asked_again(tmp_path, end, quiet):
    with BatchServer(fate=lambda n: end if n == 0 else "completed") as server:
        server.quiet = quiet
        with asker(settings(server.url), tmp_path) as one:
            outcomes = one.ask_all(says(9))
            assert all(isinstance(o, Reply) for o in outcomes) and one.budget.account.tokens == 9 * EACH
            assert not one.budget.account.open
    assert len(server.jobs) == 2 and paid_once(server)


def test_what_never_gets_its_turn_has_expired(tmp_path):
    with BatchServer(fate=lambda n: "expired") as server, asker(settings(server.url, {"tries": 3}), tmp_path) as one:
        outcomes = one.ask_all(says(16))
    failed = [o for o in outcomes if isinstance(o, Failure)]
    assert len(failed) == 2 and {(o.reason, o.tries) for o in failed} == {(FailureReason.expired, 3)}  # 16 / 2³


def test_a_partly_failed_batch_fails_line_by_line(tmp_path):
    def script(server: Server, seen: Seen) -> Do:
        told = {"q1": error(400, "too long"), "q2": error(500, "oops"), "q3": error(400, "no", code="content_filter")}
        return told.get(seen.text, echo(server, seen))

    with BatchServer(script) as server, asker(settings(server.url, {"tries": 2}), tmp_path) as one:
        outcomes = one.ask_all(says(5))
        assert one.budget.account.tokens == 2 * EACH and not one.budget.account.open
    assert [o.reason for o in outcomes[1:4]] == ["bad_request", "server_error", "content_filter"]
    assert outcomes[2].tries == 2 and isinstance(outcomes[0], Reply) and isinstance(outcomes[4], Reply)


def test_a_line_that_validation_names_fails_and_the_rest_goes_again(tmp_path):
    with BatchServer(fate=lambda n: "failed" if n == 0 else "completed") as server:
        server.refused = [{"code": "invalid_request", "message": "bad body", "line": 2}]
        with asker(settings(server.url), tmp_path) as one:
            outcomes = one.ask_all(says(4))
    assert outcomes[1].reason == FailureReason.bad_request and "bad body" in outcomes[1].evidence
    assert sum(isinstance(o, Reply) for o in outcomes) == 3 and len(server.jobs) == 2


def test_a_full_queue_is_waited_for(tmp_path):
    with BatchServer(fate=lambda n: "failed" if n < 2 else "completed") as server:
        server.refused = [{"code": "token_limit_exceeded", "message": "enqueued token limit"}]
        with asker(settings(server.url), tmp_path) as one:
            assert all(isinstance(o, Reply) for o in one.ask_all(says(3)))
    assert len(server.jobs) == 3


def test_a_model_that_is_missing_stops_all(tmp_path):
    with BatchServer(fate=lambda n: "failed") as server:
        server.refused = [{"code": "model_not_found", "message": "The model `m` does not exist"}]
        with asker(settings(server.url), tmp_path) as one:
            with pytest.raises(WrongRequest, match="no model 'm'"):
                one.ask_all(says(3))
            assert not one.budget.account.open


def test_a_server_without_the_batch_api_is_told(tmp_path):
    with Server() as server, asker(settings(server.url), tmp_path) as one:
        with pytest.raises(WrongRequest, match=r"no Batch API.*remove synthesize.batch"):
            one.ask_all(says(2))
        assert not one.budget.account.open


def test_no_wait_hands_in_and_a_later_run_collects(tmp_path):
    with BatchServer(work_s=0.3) as server:
        with asker(settings(server.url), tmp_path, wait_s=0) as one, pytest.raises(Stopped, match="batch-0"):
            one.ask_all(says(5))
        with asker(settings(server.url), tmp_path) as two:
            assert all(isinstance(o, Reply) for o in two.ask_all(says(6)))
            assert two.budget.account.tokens == 6 * EACH and not two.budget.account.open
    assert len(server.jobs) == 2 and paid_once(server)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_create_whose_answer_was_lost_is_found(tmp_path, lost):
    with BatchServer() as server:
        server.lost = lost
        with asker(settings(server.url), tmp_path) as one:
            assert all(isinstance(o, Reply) for o in one.ask_all(says(5)))
    assert len(server.jobs) == 1 and paid_once(server)


def test_a_download_that_breaks_off_is_fetched_again(tmp_path):
    with BatchServer() as server:
        server.cut = 2
        with asker(settings(server.url), tmp_path) as one:
            assert all(isinstance(o, Reply) for o in one.ask_all(says(5)))
            assert one.budget.account.tokens == 5 * EACH
    assert len(server.jobs) == 1


def test_a_provider_that_is_down_loses_nothing(tmp_path):
    with BatchServer() as server:
        with asker(settings(server.url), tmp_path, wait_s=0) as one, pytest.raises(Stopped):
            server.work_s = 60
            one.ask_all(says(3))
        server.jobs[0].ready = 0.0
        down = settings("http://127.0.0.1:9/v1", {"tries": 2})
        with asker(down, tmp_path) as two:
            assert {o.reason for o in two.ask_all(says(3))} == {FailureReason.circuit_open}
        with asker(settings(server.url), tmp_path) as three:
            assert all(isinstance(o, Reply) for o in three.ask_all(says(3)))
    assert len(server.jobs) == 1


def test_another_account_is_told_that_the_batch_is_not_its(tmp_path):
    with (
        BatchServer(work_s=60) as server,
        asker(settings(server.url), tmp_path, wait_s=0) as one,
        pytest.raises(Stopped),
    ):
        one.ask_all(says(2))
    with BatchServer() as server, asker(settings(server.url), tmp_path) as two:
        with pytest.raises(WrongRequest, match="batch-0, which was handed in earlier"):
            two.ask_all(says(2))
        assert len(two.budget.account.open) == 2


def test_the_cap_holds_and_a_higher_one_goes_on(tmp_path):
    with BatchServer() as server:
        with asker(settings(server.url, caps={"tokens": 300}), tmp_path, requests=3) as one:
            outcomes = one.ask_all(says(30))
            kept = sum(isinstance(o, Reply) for o in outcomes)
            assert one.budget.account.tokens == kept * EACH and 200 < one.budget.account.tokens <= 300
        assert {o.reason for o in outcomes if isinstance(o, Failure)} == {FailureReason.over_cap}
        with asker(settings(server.url), tmp_path) as two:
            assert all(isinstance(o, Reply) for o in two.ask_all(says(30)))
    assert paid_once(server) and len(server.delivered) == 30


def test_a_refused_response_format_is_asked_more_weakly(tmp_path):
    def script(server: Server, seen: Seen) -> Do:
        if seen.sent.get("response_format", {}).get("type") == "json_schema":
            return error(400, "'response_format.type' must be 'json_object'")
        return echo(server, seen)

    with BatchServer(script) as server, asker(settings(server.url), tmp_path) as one:
        assert all(isinstance(o, Reply) for o in one.ask_all([say("a", schema=SCHEMA)]))
        assert all(isinstance(o, Reply) for o in one.ask_all([say("b", schema=SCHEMA)]))
    assert len(server.jobs) == 3  # learned


def test_garbage_lines_leave_their_asks_open_and_are_asked_again(tmp_path):
    def script(server: Server, seen: Seen) -> Do:
        first = [s.text for s in server.seen].count(seen.text) == 1
        return Do(body=b'{"choices": "many"}') if seen.text == "q1" and first else Do(body=completion("x"))

    with BatchServer(script) as server, asker(settings(server.url), tmp_path) as one:
        assert all(isinstance(o, Reply) for o in one.ask_all(says(3)))
        assert len(one.budget.account.open) == 1 and one.budget.account.tokens == 3 * EACH


def test_the_responses_api_in_a_batch(tmp_path):
    server = BatchServer(lambda s, r: Do(body=response(f"re: {r.text}")))
    with server, asker(settings(server.url, api="responses"), tmp_path) as one:
        assert [o.text for o in one.ask_all(says(2))] == ["re: q0", "re: q1"]
    assert server.seen[0].path == "/v1/responses"


def test_two_live_askers_never_collect_the_same_batch(tmp_path):
    with (
        BatchServer(work_s=0.2) as server,
        asker(settings(server.url), tmp_path, wait_s=0) as one,
        asker(settings(server.url), tmp_path) as two,
    ):
        with pytest.raises(Stopped):
            one.ask_all(says(3))
        assert all(isinstance(o, Reply) for o in two.ask_all([say("z")]))
        assert two.budget.account.tokens == EACH and len(two.budget.account.open) == 3


def test_the_books_are_the_same_in_whatever_order_logs_are_read():
    most = {"tok": 5, "pico": 7, "most": [3, 2], "m": "none", "b": "w1-b1"}
    first: list[dict[str, Any]] = [
        {"t": "ask", "n": "w1-1", "k": "aa", **most},
        {"t": "ask", "n": "w1-2", "k": "bb", **most},
        {"t": "batch", "n": "w1-b1", "s": "draft", "w": "w1"},
        {"t": "batch", "n": "w1-b1", "s": "creating", "at": 1},
    ]
    second: list[dict[str, Any]] = [
        {"t": "batch", "n": "w1-b1", "s": "own", "w": "w2", "turn": 1},
        {"t": "batch", "n": "w1-b1", "s": "made", "id": "batch-0"},
        {"t": "reply", "n": "w1-1", "use": [3, 1, 0], "pico": 6, "b": "w1-b1"},
    ]
    third: list[dict[str, Any]] = [{"t": "batch", "n": "w1-b1", "s": "own", "w": "w3", "turn": 2}]
    for logs in permutations((first, second, third)):
        book, account = Book(), Account()
        for record in (r for log in logs for r in log):
            book.fold(record)
            account.fold(record)
        (batch,) = book.batches.values()
        assert (batch.owner, batch.state, batch.id, list(batch.asks)) == ("w3", "made", "batch-0", ["w1-2"])
        assert (account.tokens, account.open_tokens, account.replies) == (4, 5, 1) and not account.early
