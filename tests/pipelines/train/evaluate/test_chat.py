"""`pairmill chat`: one question, or several from stdin with what was said before; what is refused, and how."""

import io
import json
import sys
from pathlib import Path

import pytest

from pipelines.train.evaluate.dialogue import Dialogue
from pipelines.train.evaluate.generate import Asker, answers
from pipelines.train.evaluate.trained import trained
from pipelines.train.loop.result import result
from schemas.errors import WrongRequest
from schemas.evaluate import Answer, GenerateConfig, Question
from tests.pipelines.train.evaluate import tiny_run
from tests.pipelines.train.evaluate.conftest import Pairmill
from tests.pipelines.train.evaluate.test_generate import png

SHORT = ("--max-new-tokens", "5", "--device", "cpu")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    path.write_bytes(png(1))
    return path


def expected(run: Path, picture: Path, text: str, *history: tuple[str, str]) -> str:
    """What the run's model says, asked without a command."""
    question = Question(id="0", text=text, images=(picture,), history=history)
    (found,) = answers(result(run), [question], GenerateConfig(max_new_tokens=5))
    assert found.text
    return found.text


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_one_question_is_answered_once(tiny: Path, picture: Path, pairmill: Pairmill) -> None:
    said = expected(tiny, picture, "what is left ?")
    assert pairmill("chat", tiny, picture, "what is left ?", *SHORT)[:2] == (0, said + "\n")
    code, out, _ = pairmill("chat", tiny, picture, "what is left ?", *SHORT, "--json")
    told = {"question": "what is left ?", "answer": said, "ended": False, "why": None}
    assert (code, json.loads(out)) == (0, told)


def test_lines_are_asked_after_what_was_said(
    tiny: Path, picture: Path, pairmill: Pairmill, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = list[Question](), Asker.ask
    monkeypatch.setattr(Asker, "ask", lambda self, questions: asked.extend(questions) or ask(self, questions))
    type_in(monkeypatch, b"what is left ?\r\n  a ball ? \n\nred ?\n")  # what follows an empty line is not asked
    code, out, _ = pairmill("chat", tiny, picture, *SHORT)
    first, second = out.splitlines()
    assert code == 0 and [(one.text, one.history) for one in asked] == [
        ("what is left ?", ()), ("a ball ?", (("what is left ?", first),)),
    ]  # fmt: skip
    assert second == expected(tiny, picture, "a ball ?", ("what is left ?", first))


def test_a_line_that_cannot_be_asked_stops_nothing(
    tiny: Path, picture: Path, pairmill: Pairmill, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, b"red " * 600 + b"\nwhat is \xff left ?")
    code, out, err = pairmill("chat", tiny, picture, *SHORT, "--json")
    first, second = map(json.loads, out.splitlines())
    assert (code, first["why"], first["answer"]) == (2, "too_long", "")
    assert second["why"] is None and second["answer"] and second["question"] == "what is \ufffd left ?"
    assert "do not fit into the model's positions; begin anew" in err


def test_a_caption_is_asked_for_without_words(tiny: Path, picture: Path, pairmill: Pairmill) -> None:
    code, out, _ = pairmill("chat", tiny, picture, "", "--stage", "align", *SHORT)
    assert code == 0 and out.strip()


def test_a_saved_model_is_asked_as_its_run_trained_it(
    tiny: Path, picture: Path, pairmill: Pairmill, shelf: Path, kept: Path, tmp_path: Path
) -> None:
    said = expected(tiny, picture, "what is left ?")
    assert pairmill("chat", tiny / "stages/tune/model", picture, "what is left ?", *SHORT)[1] == said + "\n"
    named = tiny_run.run(tmp_path / "named", shelf, kept, template="vicuna", system="a red ball")
    for where in (named, named / "stages/tune/model"):
        found = trained(str(where), device="cpu").asking(max_new_tokens=7, template=None)
        assert (found.template, found.system, found.max_new_tokens) == ("vicuna", "a red ball", 7)
    alone = named / "stages/tune/model"
    alone.rename(tmp_path / "alone")
    assert trained(str(tmp_path / "alone"), device="cpu").asking(template="chatml").template == "chatml"


def test_escapes_of_a_model_stay_text(
    tiny: Path, picture: Path, pairmill: Pairmill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Dialogue, "ask", lambda self, text: Answer(question=Question(id="0", text=text, images=()), text="a\x1b[2J\nb")
    )
    assert pairmill("chat", tiny, picture, "?", *SHORT)[1] == "a\\x1b[2J\nb\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere", "PICTURE"], 2, "nowhere is neither a training run nor a saved model"),
        (["RUN", "nowhere.png"], 2, "nowhere.png cannot be read: No such file"),
        (["RUN", "RUN"], 2, "cannot be read: Is a directory"),
        (["RUN", "TEXT"], 1, "is no picture that decodes"),
        (["RUN", "PICTURE", "--stage", "chat"], 2, "has not done stage chat; done: align, tune"),
        (["RUN", "PICTURE", "--template", "llama9"], 2, "template"),
        (["RUN", "PICTURE", "--device", "tpu"], 2, "tpu"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    words: list[str], code: int, told: str, tiny: Path, picture: Path, pairmill: Pairmill, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    known = {"RUN": tiny, "PICTURE": picture, "TEXT": tmp_path / "text.jpg"}
    ended, out, err = pairmill("chat", *(known.get(word, word) for word in words), "--", "red ?")
    assert (ended, out) == (code, "") and told in err and err.startswith("pairmill: ") and err.count("\n") == 1


def test_a_saved_model_has_no_stages(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tiny / "stages/tune/model")
    with pytest.raises(WrongRequest, match="is a saved model and has no stages"):
        trained(str(tmp_path / "model"), "tune", "cpu")
