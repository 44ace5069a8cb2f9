"""Every way an endpoint can be bad: each ends in the right outcome, and the neighbours are unharmed."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from schemas.errors import WrongRequest
from stages.synthesize.endpoint.wire import Failure, FailureReason, Reply
from tests.stages.synthesize.endpoint.conftest import KEY, say, settings
from tests.stages.synthesize.endpoint.server import COMPLETION, PROMPT, Do, Seen, Server, completion, echo, error


def first(n: int, do: Do):
    """The first n requests of each text get `do`, the rest an echo."""
    count: Counter[str] = Counter()

    def script(server: Server, seen: Seen) -> Do:
        count[seen.text] += 1
        return do if count[seen.text] <= n else echo(server, seen)

    return script


def only(text: str, do: Do):
    return lambda server, seen: do if seen.text == text else echo(server, seen)


def test_a_good_reply_is_counted_as_the_server_counts(ask):
    with Server() as server:
        (reply,), endpoint = ask(settings(server.url, prices={"prompt": "1", "cached": "0.5", "completion": "2"}), "hi")
    assert isinstance(reply, Reply) and reply.text == "re: hi" and reply.finish_reason == "stop"
    assert str(reply.cost) == "0.000032" == str(endpoint.budget.spent)  # (16 × 1 + 4 × 0.5 + 7 × 2) / 10⁶
    assert not reply.cached and endpoint.budget.doubtful == 0
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


def test_429_without_retry_after_is_tried_again(ask):
    with Server(first(2, error(429, "slow down"))) as server:
        outcomes, endpoint = ask(settings(server.url), "a", "b")
    assert [o.text for o in outcomes] == ["re: a", "re: b"]
    assert endpoint.counts.limited == 4 and endpoint.budget.doubtful == 0


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "date"])
def test_429_holds_everything_for_as_long_as_asked(ask, name):
    told = {"retry-after": "0.6", "retry-after-ms": "600"}.get(name)
    if told is None:
        name, told = "retry-after", format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    times: list[float] = []

    def script(server: Server, seen: Seen) -> Do:
        times.append(time.monotonic())
        return error(429, "later", headers={name: told}) if len(times) == 1 else echo(server, seen)

    with Server(script) as server:
        outcomes, _ = ask(settings(server.url, {"first_in_flight": 1}), "a", "b", "c")
    assert all(isinstance(o, Reply) for o in outcomes)
    assert times[1] - times[0] >= 0.59


def test_429_for_ever_is_rate_limited(ask):
    with Server(lambda s, r: error(429, "never")) as server:
        (outcome,), _ = ask(settings(server.url, {"refusals": 4}), "a")
    assert isinstance(outcome, Failure) and outcome.reason == FailureReason.rate_limited
    assert outcome.tries == 4 == len(server.seen) and "never" in outcome.evidence


def test_a_quota_told_in_headers_is_waited_for(ask):
    times: list[float] = []

    def script(server: Server, seen: Seen) -> Do:
        times.append(time.monotonic())
        head = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
        return Do(body=completion("x"), headers=head if len(times) == 1 else {})

    with Server(script) as server:
        ask(settings(server.url, {"first_in_flight": 1}), "a", "b")
    assert times[1] - times[0] >= 0.39


def test_a_burst_of_500_is_survived(ask):
    with Server(first(2, error(500, "oops"))) as server:
        outcomes, endpoint = ask(settings(server.url), *(f"q{i}" for i in range(8)))
    assert [o.text for o in outcomes] == [f"re: q{i}" for i in range(8)]
    assert endpoint.counts.faults == 16


def test_one_poisoned_prompt_fails_alone(ask):
    with Server(only("poison", error(500, "CUDA error"))) as server:
        outcomes, _ = ask(settings(server.url), "poison", *(f"q{i}" for i in range(20)))
    assert isinstance(outcomes[0], Failure) and outcomes[0].reason == FailureReason.server_error
    assert outcomes[0].tries == 5 and all(isinstance(o, Reply) for o in outcomes[1:])


@pytest.mark.parametrize(
    ("do", "reason", "tries", "open_asks"),
    [
        (Do(body=completion("late"), delay=3), FailureReason.timeout, 2, 2),
        (Do(body=completion("half"), cut=40), FailureReason.reset, 2, 2),
        (Do(reset=True), FailureReason.reset, 2, 2),
        (Do(body=b'{"choices": [{"mess'), FailureReason.invalid_json, 2, 2),
        (Do(body=b"[" * 100_000), FailureReason.invalid_json, 2, 2),
        (Do(body=b'["not", "a", "completion"]'), FailureReason.malformed, 2, 2),
        (Do(body=b'{"choices": "many"}'), FailureReason.malformed, 2, 2),
        (Do(body=b'{"choices": [{"message": {"content": 5}}]}'), FailureReason.malformed, 2, 2),
        (Do(body=b'{"choices": [], "usage": {"prompt_tokens": -1}}'), FailureReason.empty_choices, 2, 2),
        (Do(body=b'{"error": {"message": "upstream"}}'), FailureReason.server_error, 2, 2),
        (Do(body=b"x" * 100_000, repeat=100), FailureReason.too_large, 1, 1),
        (Do(body=completion("zip"), headers={"content-encoding": "gzip"}), FailureReason.too_large, 1, 1),
        (error(503, "busy"), FailureReason.server_error, 2, 0),
        (error(400, "context length exceeded"), FailureReason.bad_request, 1, 0),
        (error(400, "filtered", code="content_filter"), FailureReason.content_filter, 1, 0),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, FailureReason) else "",
)
def test_each_evil_has_its_reason(ask, do, reason, tries, open_asks):
    with Server(only("bad", do)) as server:
        config = settings(server.url, {"tries": 2, "request_s": 0.4}, reply_bytes_most=200_000)
        outcomes, endpoint = ask(config, "bad", "good")
    bad, good = outcomes
    assert isinstance(good, Reply) and good.text == "re: good"
    assert isinstance(bad, Failure) and bad.reason == reason and bad.tries == tries, bad
    assert bad.evidence and len(bad.evidence) <= 300
    assert len(endpoint.budget.account.open) == open_asks


def test_a_reply_without_a_choice_that_was_billed_is_spent(ask):
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}).encode()
    with Server(first(1, Do(body=body))) as server:
        (outcome,), endpoint = ask(settings(server.url), "a")
    assert isinstance(outcome, Reply)
    assert endpoint.budget.account.tokens == 7 + PROMPT + COMPLETION and not endpoint.budget.account.open


def test_finish_reason_content_filter_is_paid_once(ask):
    with Server(lambda s, r: Do(body=completion("", "content_filter"))) as server:
        (one,), _ = ask(settings(server.url), "a")
        (two,), endpoint = ask(settings(server.url), "a")
    assert one.reason == two.reason == FailureReason.content_filter
    assert len(server.seen) == 1 and endpoint.budget.account.tokens == PROMPT + COMPLETION


def test_a_lone_surrogate_can_be_stored(ask):
    body = completion("XX").replace(b'"XX"', b'"a\\ud800b"')
    with Server(lambda s, r: Do(body=body)) as server:
        (reply,), _ = ask(settings(server.url), "a")
    assert reply.text.encode().startswith(b"a\xef\xbf\xbd")


def test_no_usage_is_taken_as_the_reservation(ask):
    body = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
    with Server(lambda s, r: Do(body=body)) as server:
        (reply,), endpoint = ask(settings(server.url), "a")
    assert not reply.counted and reply.usage.completion == 10
    assert endpoint.budget.account.tokens == reply.usage.total


@pytest.mark.parametrize(
    ("do", "named", "remedy"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), "TEST_KEY", "valid key"),
        (error(403, "not allowed"), "TEST_KEY", "valid key"),
        (error(404, "The model `m` does not exist", code="model_not_found"), "no model 'm'", "/models"),
        (Do(404, b"<html>nginx</html>"), "/v1/chat/completions", "base_url"),
        (Do(302, b"", {"location": "http://127.0.0.1:9/steal"}), "302", "base_url"),
        (error(429, "You exceeded your quota", code="insufficient_quota"), "no money left", "top it up"),
    ],
    ids=["key", "forbidden", "model", "path", "redirect", "quota"],
)
def test_what_dooms_all_stops_at_once(ask, do, named, remedy):
    with Server(lambda s, r: do) as server:
        with pytest.raises(WrongRequest) as caught:
            ask(settings(server.url, {"first_in_flight": 2}), *(f"q{i}" for i in range(50)))
        assert len(server.seen) <= 4
    assert named in str(caught.value) and remedy in str(caught.value) and KEY not in str(caught.value)


def test_a_missing_key_names_its_variable(tmp_path):
    from stages.synthesize.endpoint.client import Endpoint

    with pytest.raises(WrongRequest, match="TEST_KEY"):
        Endpoint(settings("http://127.0.0.1:9/v1"), tmp_path, {})


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_refused_response_format_is_learned_once(ask):
    def script(server: Server, seen: Seen) -> Do:
        if seen.sent.get("response_format", {}).get("type") == "json_schema":
            return error(400, "'response_format.type' must be 'json_object' or 'text'")
        return echo(server, seen)

    with Server(script) as server:
        outcomes, endpoint = ask(
            settings(server.url, {"first_in_flight": 1, "max_in_flight": 1}),
            *(say(f"q{i}", schema=SCHEMA) for i in range(9)),
        )
    assert all(isinstance(o, Reply) for o in outcomes)
    assert endpoint.counts.format_refused == 1 and len(server.seen) == 10
    assert '"properties"' in server.seen[-1].sent["messages"][0]["content"]


def test_one_schema_that_is_refused_does_not_weaken_the_others(ask):
    def script(server: Server, seen: Seen) -> Do:
        if seen.text == "odd" and seen.sent.get("response_format", {}).get("type") == "json_schema":
            return error(400, "Invalid schema for response_format 'reply'")
        return echo(server, seen)

    with Server(script) as server:
        config = settings(server.url, {"first_in_flight": 1, "max_in_flight": 1})
        ask(config, *(say(t, schema=SCHEMA) for t in ("q0", "odd", "q1")))
    kinds = [(s.text, s.sent["response_format"]["type"]) for s in server.seen]
    assert kinds == [("q0", "json_schema"), ("odd", "json_schema"), ("odd", "json_object"), ("q1", "json_schema")]


def test_a_fixed_mode_does_not_fall_back(ask):
    with Server(lambda s, r: error(400, "response_format is not supported")) as server:
        (outcome,), _ = ask(settings(server.url, structured="json_schema"), say("a", schema=SCHEMA))
    assert outcome.reason == FailureReason.bad_request and len(server.seen) == 1
