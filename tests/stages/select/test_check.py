"""Rules are checked before any work: one SQL condition over known columns that the row alone decides."""

import pytest

from schemas.errors import WrongRequest
from schemas.recipe import SelectConfig
from schemas.rules import QuantileRule, Rule, TopRule
from stages.families import FAMILIES, sample_schema
from stages.select.check import check

COLUMNS = {f.name: f.type for f in sample_schema(list(FAMILIES))}


def keep(text: str) -> SelectConfig:
    return SelectConfig(rules=[Rule(reason="mine", keep=text)])


FINE = {
    "clip_score >= 0.28": ["clip_score"],
    "CLIP_SCORE BETWEEN 0.2 AND 0.9 and caption_words > 2": ["clip_score", "caption_words"],
    "caption like 'a''%'": ["caption"],
    "width < height * 3 -- not a banner": ["width", "height"],
    "samples.width > 3": ["width"],
    "list_filter(clip_image, lambda width: width > 1) is not null": ["clip_image", "width"],
    "json_extract_string(extra, '$.a') = 'b'": ["extra"],
    "extra->>'a' = 'b'": ["extra"],
    "len(boxes) > 0 and boxes[1].x >= 0": ["boxes"],
    "if(coalesce(width, 0) > 3, true, false)": ["width"],
    "try_cast(language as int) > 3": ["language"],
    "language in ('en', 'de')": ["language"],
    "sample_id < '8'": ["sample_id"],
}


@pytest.mark.parametrize("text", FINE)
def test_conditions(text: str) -> None:
    assert check(keep(text), COLUMNS).columns == FINE[text]


BAD = {
    "clip_scor > 1": "no column 'clip_scor'; did you mean 'clip_score'",
    "Widht > 1": "no column 'Widht'; did you mean 'width'",
    "zzzzzz > 1": "no column 'zzzzzz'; there are: .*clip_score",
    "samples.nope > 1": "no column 'nope'",
    "current_date > '2020-01-01'": "no column 'current_date'",
    "random() < 0.5": r"random\(\) is not decided by the row alone",
    "now() is null": r"now\(\)",
    "age(timestamp '2020-01-01') is null": r"age\(\)",
    "uuid() is null": r"uuid\(\)",
    "getvariable('x') = 1": r"getvariable\(\)",
    "current_setting('threads') > 1": r"current_setting\(\)",
    "width": "is INTEGER, not a condition",
    "caption": "is VARCHAR, not a condition",
    "(select 1) = 1": "holds a subquery",
    "exists(from samples)": "holds a subquery",
    "row_number() over () > 1": "holds a window",
    "columns(*) > 1": "holds a star",
    "width > $1": "holds a parameter",
    "count(*) > 1": "aggregates",
    "unnest([true])": "UNNEST",
    "nope(width) > 1": "nope does not exist",
    "caption > 3": "Cannot compare",
    "width = 'a'": "'a'",
    "width > 1) or (width < 2": "is not one SQL condition",
    "width > 1; drop table samples": "is not one SQL condition",
    "width > 1 as w": "is not one SQL condition",
    "width > 1, height > 1": "is not one SQL condition",
    "width > 1 from samples": "is not one SQL condition",
    "width > 1 limit 1": "is not one SQL condition",
    "width >": "is not one SQL condition",
    "width > 1 /*": "is not one SQL condition",
    "": "is not one SQL condition",
    "wide images please": "is not one SQL condition",
}


@pytest.mark.parametrize("text", BAD)
def test_refused_conditions_name_the_rule_and_the_matter(text: str) -> None:
    with pytest.raises(WrongRequest, match=BAD[text]) as caught:
        check(keep(text), COLUMNS)
    assert str(caught.value).startswith("rule 'mine': ")
    assert "\n" not in caught.value.remedy


def test_a_column_that_the_recipe_does_not_measure_is_unknown() -> None:
    columns = {f.name: f.type for f in sample_schema(["pool", "parts", "measures/image"])}
    with pytest.raises(WrongRequest, match="clip_score"):
        check(keep("clip_score > 0.2"), columns)


@pytest.mark.parametrize(
    ("term", "matter"),
    [
        ("clip_score, width", "not one SQL order term"),
        ("clip_score desc limit 3", "not one SQL order term"),
        ("", "not one SQL order term"),
        ("1", "orders by no column"),
        ("nope desc", "no column 'nope'"),
        ("random()", "random"),
    ],
)
def test_refused_order_terms(term: str, matter: str) -> None:
    with pytest.raises(WrongRequest, match=rf"^select\.best\[1\]: .*{matter}"):
        check(SelectConfig(best=["clip_score desc", term]), COLUMNS)


def test_order_terms() -> None:
    found = check(SelectConfig(best=["clip_score desc", "width * height", "caption DESC NULLS FIRST"]), COLUMNS)
    assert [(t.descending, t.nulls_first) for t in found.best] == [(True, False), (False, False), (True, True)]
    assert found.columns == ["clip_score", "width", "height", "caption"]


def test_ranks_need_a_number_and_a_known_group() -> None:
    for rule, matter in (
        (Rule(reason="mine", top=TopRule(column="caption", share=0.5)), "'caption' is VARCHAR, not a number"),
        (Rule(reason="mine", top=TopRule(column="clip_scor", share=0.5)), "did you mean 'clip_score'"),
        (Rule(reason="mine", quantile=QuantileRule(column="width", per="lang")), "no column 'lang'"),
        (Rule(reason="mine", quantile=QuantileRule(column="width", low=0.8, high=0.2)), r"low 0\.8 is above high 0\.2"),
    ):
        with pytest.raises(WrongRequest, match=matter):
            check(SelectConfig(rules=[rule]), COLUMNS)


def test_reasons_are_told_apart() -> None:
    rule = Rule(reason="small", keep="width > 1")
    with pytest.raises(WrongRequest, match="'small' is the name of two rules"):
        check(SelectConfig(rules=[rule, rule]), COLUMNS)
    with pytest.raises(WrongRequest, match="'duplicate' is the name of what dedup rejects"):
        check(SelectConfig(rules=[Rule(reason="duplicate", keep="width > 1")]), COLUMNS)
