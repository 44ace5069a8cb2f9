"""The Responses API: the same requests, replies, usage and failures as Chat Completions."""

import json

import pytest

from schemas.endpoint import EndpointConfig
from schemas.errors import WrongRequest
from stages.synthesize.endpoint.wire import Failure, FailureReason, Reply, Request, Tokens, body, request_key
from tests.stages.synthesize.endpoint.conftest import say, settings
from tests.stages.synthesize.endpoint.server import CACHED, COMPLETION, PROMPT, Do, Seen, Server, error, response

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def echo(server: Server, seen: Seen) -> Do:
    return Do(body=response(f"re: {seen.text}"))


def test_a_reply_is_counted_as_the_server_counts(ask):
    with Server(echo) as server:
        (reply,), endpoint = ask(
            settings(server.url, api="responses", prices={"prompt": "1"}), say("hi", schema=SCHEMA)
        )
    assert isinstance(reply, Reply) and reply.text == "re: hi" and reply.finish_reason == "stop"
    assert reply.usage == Tokens(PROMPT, COMPLETION, CACHED) and endpoint.budget.account.tokens == PROMPT + COMPLETION
    (seen,) = server.seen
    assert seen.path == "/v1/responses" and seen.sent["max_output_tokens"] == 10 and seen.sent["store"] is False
    form = {"type": "json_schema", "name": "reply", "schema": SCHEMA, "strict": True}
    assert seen.sent["text"] == {"format": form} and "messages" not in seen.sent


@pytest.mark.parametrize(
    ("data", "finish"),
    [
        (response("half", "incomplete", "max_output_tokens"), "length"),
        (response("odd", "incomplete", "else"), "else"),
        (response("whole"), "stop"),
    ],
)
def test_incomplete_is_a_finish_reason(ask, data, finish):
    with Server(lambda s, r: Do(body=data)) as server:
        (reply,), _ = ask(settings(server.url, api="responses"), "a")
    assert isinstance(reply, Reply) and reply.finish_reason == finish


def test_the_models_refusal_is_a_reply_that_says_so(ask):
    told = json.loads(response(""))
    told["output"][1]["content"] = [{"type": "refusal", "refusal": "no"}]
    with Server(lambda s, r: Do(body=json.dumps(told).encode())) as server:
        (reply,), _ = ask(settings(server.url, api="responses"), "a")
    assert isinstance(reply, Reply) and reply.refused and reply.text == "no"


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        (Do(body=response("", "failed", error={"code": "server_error"})), FailureReason.server_error),
        (Do(body=response("")), FailureReason.empty_choices),
        (Do(body=response("", "incomplete", "content_filter")), FailureReason.content_filter),
        (Do(body=b'{"output": 3}'), FailureReason.malformed),
        (Do(body=b'{"output": [1, {"type": "message", "content": [2]}]}'), FailureReason.empty_choices),
        (error(400, "too long"), FailureReason.bad_request),
    ],
)
def test_failures_are_those_of_chat(ask, do, reason):
    with Server(lambda s, r: do) as server:
        (outcome,), _ = ask(settings(server.url, {"tries": 1}, api="responses"), "a")
    assert isinstance(outcome, Failure) and outcome.reason == reason


def test_a_server_without_it_is_told_by_its_path(ask):
    with Server(lambda s, r: Do(404, b"nothing here")) as server, pytest.raises(WrongRequest, match="/v1/responses"):
        ask(settings(server.url, api="responses"), "a")


def test_pictures_and_turns_are_spelled_as_responses_spells_them():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "what?"}, image]},
        {"role": "assistant", "content": [{"type": "text", "text": "a cup"}]},
    ]
    config = EndpointConfig(model="m", api="responses", seed=3)
    sent = body(Request(messages), config, config.structured.none)
    assert [p["type"] for p in sent["input"][0]["content"]] == ["input_text", "input_image"]
    assert sent["input"][0]["content"][1]["image_url"] == "data:image/png;base64,AA"
    assert sent["input"][1]["content"][0]["type"] == "output_text" and "seed" not in sent


def test_a_reply_of_one_api_is_not_the_others():
    chat, other = EndpointConfig(model="m"), EndpointConfig(model="m", api="responses")
    assert request_key(say("a"), chat) != request_key(say("a"), other)
