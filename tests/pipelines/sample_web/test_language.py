"""The small language model is an ordinary checkpoint of transformers, loses no letter, and looks up what it is told."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web import language_data, language_eval, language_files, train_language
from pipelines.sample_web.language_batch import Form, Rows
from pipelines.sample_web.language_data import COLUMNS, SIDE, WORDS, Document
from pipelines.sample_web.scenes import make_scene

FOLDER = Path(language_files.__file__).parent / "language"
START = 42_000_000
"""Scenes of these tests alone."""


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return json.loads((FOLDER / "card.json").read_text())


@pytest.fixture(scope="module")
def found() -> list[Document]:
    return language_data.documents(START, 60)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def test_transformers_loads_it_and_it_is_small(card: dict[str, Any], tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert language_files.megabytes(FOLDER) < 10
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == card["parameters"]
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == card["tokens"]


def test_the_tokenizer_loses_nothing(found: list[Document], tokenizer: Any) -> None:
    said = [one.caption for one in found] + [one.listed for one in found]
    said += [text for one in found for _, turns in one.talks for pair in turns for text in pair]
    said += [" two  spaces ", "Zażółć gęślą jaźń", "火 \U0001f525\n\ttab"]
    for text in said:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
    known = sum(len(tokenizer(t, add_special_tokens=False).input_ids) for t in said)
    assert known < sum(len(t) for t in said) / 3


def test_training_takes_its_template_and_verifies_its_labels(found: list[Document], tokenizer: Any) -> None:
    from pipelines.train.batches.encode import IGNORED, Tokens
    from pipelines.train.batches.talks import PICTURE, Said
    from pipelines.train.batches.template import Template
    from schemas.conversation import Role
    from schemas.train_batch import BatchConfig

    template = Template(tokenizer, BatchConfig())
    tokens = Tokens(tokenizer, "<image>", template.text)
    (question, answer) = found[0].talks[0][1][0]
    turns = (Said(Role.user, (PICTURE, "\n", question)), Said(Role.assistant, (answer,)))
    encoded = tokens.encode(template.fill(turns))
    assert tokenizer.decode(encoded.labels[encoded.labels != IGNORED]) == f"{answer}<|im_end|>"
    row = Rows(tokenizer).batch([found[0]], Form(), Random(0))
    asked = row.ids[0][~row.board[0]].tolist()
    assert encoded.ids[encoded.ids != tokens.image_id].tolist()[:3] == asked[:3]


def test_it_looks_up_what_it_is_told(found: list[Document], card: dict[str, Any]) -> None:
    told = language_eval.figures(FOLDER, found[:12])["all"]
    said = card["test"]["all"]
    assert told["questions"] > 90
    assert told["accuracy"] >= said["accuracy"] - 0.08
    assert told["accuracy"] >= told["blind"] + 0.15


def test_a_list_names_every_object_and_its_square(found: list[Document]) -> None:
    for one in found[:20]:
        scene = make_scene(one.seed)
        told = one.listed.removesuffix(".").split("; ")
        assert len(told) == len(scene.objects)
        for o in scene.objects:
            column, line = COLUMNS[int(o.cx / scene.width * SIDE)], int(o.cy / scene.height * SIDE) + 1
            assert f"{o.size} {o.label} {column} {line}" in told


def test_a_board_has_each_object_on_its_square(found: list[Document]) -> None:
    for one in found[:20]:
        scene = make_scene(one.seed)
        squares = language_data.board(one.objects)
        filled = np.flatnonzero(squares[:, WORDS.index(" background")] == 0)
        at = {language_data.square(o.cx / scene.width, o.cy / scene.height): o for o in scene.objects}
        assert set(filled) == set(at)
        for square, o in at.items():
            said = {WORDS[i] for i in np.flatnonzero(squares[square] == 1)}
            assert {f" {o.colour}", f" {o.shape}"} <= said
            column = float(squares[square][[WORDS.index(c) for c in COLUMNS]] @ np.arange(SIDE))
            assert column == pytest.approx(np.clip(o.cx / scene.width * SIDE - 0.5, 0, SIDE - 1), abs=1e-4)


def test_an_object_on_a_border_is_on_both_squares() -> None:
    """Red circle: half on each side of the border between squares C and D; all of it is still there."""
    red, circle = WORDS.index(" red"), WORDS.index(" circle")
    kind = (red, circle - 10)
    board = language_data.board(((*kind, 3 / SIDE, 0.5 / SIDE, 0.2),), band=0.2)
    assert {int(at): float(board[at, red]) for at in np.flatnonzero(board[:, red])} == pytest.approx({2: 0.5, 3: 0.5})
    assert board[:, circle].sum() == pytest.approx(1)
    assert np.flatnonzero(language_data.board(((*kind, 3 / SIDE, 0.5 / SIDE, 0.2),))[:, red]).tolist() == [3]
    corner = language_data.board(((*kind, 0.0, 1.0, 0.2),), band=0.2)
    assert np.flatnonzero(corner[:, red]).tolist() == [(SIDE - 1) * SIDE]


def test_notes_never_say_a_thing_twice_and_are_true(found: list[Document]) -> None:
    """A note that was answered before could be copied instead of looked up."""
    rng = Random(2)
    for one in found:
        notes = language_data.lookups(one.objects, rng, 10)
        assert 1 <= len(notes) <= 10
        assert len({asked for asked, _ in notes}) == len(notes)
        kinds = [f" {language_data._NAMES[0][c]} {language_data._NAMES[1][s]}:" for c, s, *_ in one.objects]
        for asked, said in notes:
            if asked in kinds:
                assert said == f" {language_data.COUNTS[kinds.count(asked)]}"


def test_what_is_between_two_words_is_between_them() -> None:
    assert language_data.between(1.25, 4).tolist() == pytest.approx([0, 0.75, 0.25, 0])
    assert language_data.between(-3, 3).tolist() == [1, 0, 0]
    assert language_data.between(9, 3).tolist() == pytest.approx([0, 0, 1], abs=1e-5)


def test_rows_learn_answers_and_show_the_board_once(found: list[Document], tokenizer: Any) -> None:
    rows = Rows(tokenizer)
    made = rows.batch(found[:4], Form(), Random(3))
    assert made.board.sum(1).tolist() == [SIDE**2] * 4
    assert len(made.squares) == 4 * SIDE**2
    for row in range(4):
        learnt = tokenizer.decode(made.ids[row][made.weights[row] >= 1])
        answers = {answer for _, turns in found[row].talks for _, answer in turns}
        assert set(learnt.removesuffix("<|im_end|>").split("<|im_end|>")) <= answers
    few = rows.batch(found[:4], Form(few=True), Random(3))
    assert few.board.sum() < made.board.sum() / 3
    told = rows.batch(found[:4], Form(listed=True), Random(3))
    assert not told.board.any() and found[0].listed in tokenizer.decode(told.ids[0])
    captions = rows.batch(found[:2], Form(captions=True), Random(3))
    assert found[1].caption in tokenizer.decode(captions.ids[1][~captions.board[1]])


def test_a_few_steps_learn_answers(found: list[Document], tokenizer: Any, tmp_path: Path) -> None:
    import torch
    from torch.nn import functional

    threads, kept = torch.get_num_threads(), functional.scaled_dot_product_attention
    try:
        config = train_language.TrainConfig(steps=12, batch=4, rate=3e-3)
        model = language_files.new_model(tokenizer, 0)
        trainer = train_language.Trainer(config, found, model, tokenizer)
        batch = Rows(tokenizer).batch(found[:6], Form(smeared=False), Random(1))
        with torch.no_grad():
            before = float(trainer.loss(batch)[0])
        trainer.run()
        with torch.no_grad():
            assert float(trainer.loss(batch)[0]) < 0.9 * before
        assert functional.scaled_dot_product_attention is kept
        language_files.write(tmp_path, model, tokenizer)
        assert language_files.load(tmp_path)[1].chat_template == tokenizer.chat_template
    finally:
        torch.set_num_threads(threads)
