"""The SQL that decides, over table `samples` (a run of rows) and table `decisions` (all of them).

`decisions`: pos (row number in the build), part, row, sample_id; stage, reason, value, threshold, detail (null: kept);
fail (index of the rule that failed, −1 for an earlier stage, null: kept); g0, p0 … (column and group of each rank
rule); b0 … (order terms of `best`); watched, watched_threshold (numbers of a test looked at closely). Columns of
`samples` that are not a rule's are prefixed `up_`.
"""

from stages.select.check import KeepRule, RankRule, Rules
from stages.select.conditions import Expression, Test
from stages.sql import quoted

_CONDITION_CHARS = 120
_VALUE_CHARS = 60


def table_statement(rules: Rules, watch: Test | None = None) -> str:
    """Create `decisions`, empty; `samples` must be there, for its types."""
    return f"CREATE TABLE decisions AS {_select(rules, watch)} LIMIT 0"


def fill_statement(rules: Rules, watch: Test | None = None) -> str:
    """Append the rows of `samples`."""
    return f"INSERT INTO decisions {_select(rules, watch)}"


def rows_statement(rules: Rules) -> str:
    """The rows of `samples` as rows of `decisions`."""
    return _select(rules, None)


def rank_statements(index: int, rule: RankRule) -> list[str]:
    """Reject what rank rule `index` rejects, among the rows that no rule before it rejects.

    Of n rows with a value (per group), floor(low·n) smallest and floor((1 − high)·n) largest are dropped, never all;
    rows equal to the last one kept are kept. A row without a value fails.
    """
    alive = f"(fail IS NULL OR fail > {index})"
    lowest, highest = f"floor({rule.low!r} * n + 1e-9)::BIGINT", f"floor({1.0 - rule.high!r} * n + 1e-9)::BIGINT"
    cuts = f"""CREATE OR REPLACE TEMP TABLE cuts AS
        SELECT grp, max(v) FILTER (place = least({lowest}, n - 1) + 1) AS low,
               max(v) FILTER (place = greatest(n - {highest}, 1)) AS high
        FROM (SELECT p{index} AS grp, g{index} AS v, count(*) OVER (PARTITION BY p{index}) AS n,
                     row_number() OVER (PARTITION BY p{index} ORDER BY g{index}) AS place
              FROM decisions WHERE {alive} AND g{index} IS NOT NULL)
        GROUP BY grp"""
    said = f"stage = 'select', reason = {quoted(rule.rule.reason)}, fail = {index}, value = g{index}"
    group = f" || ', {rule.per.columns[0]} = ' || {_shown(f'p{index}')}" if rule.per else ""
    detail = f"{quoted(rule.text)}{group}"
    return [
        cuts,
        f"""UPDATE decisions SET {said}, threshold = CASE WHEN g{index} < low THEN low ELSE high END, detail = {detail}
            FROM cuts WHERE {alive} AND p{index} IS NOT DISTINCT FROM grp AND (g{index} < low OR g{index} > high)""",
        f"UPDATE decisions SET {said}, threshold = NULL, detail = {detail} WHERE {alive} AND g{index} IS NULL",
    ]


def _select(rules: Rules, watch: Test | None) -> str:
    """Each row of `samples` as a row of `decisions`, rank rules and duplicates aside."""
    keeps = [(i, rule) for i, rule in enumerate(rules.rules) if isinstance(rule, KeepRule)]
    failed = " ".join(f"WHEN {_fails(rule.condition.sql)} THEN {i}" for i, rule in keeps)
    said = {
        "stage": ("up_stage", ["'select'" for _ in keeps]),
        "reason": ("up_reason", [quoted(rule.rule.reason) for _, rule in keeps]),
        "value": ("up_value", [_number(rule.condition, "value") for _, rule in keeps]),
        "threshold": ("up_threshold", [_number(rule.condition, "threshold") for _, rule in keeps]),
        "detail": ("up_detail", [_detail(rule) for _, rule in keeps]),
    }
    columns = ["up_pos AS pos", "part", '"row"', "sample_id"]
    for name, (upstream, by_rule) in said.items():
        cases = "".join(f" WHEN {i} THEN {sql}" for (i, _), sql in zip(keeps, by_rule, strict=True))
        columns.append(f"CASE fail WHEN -1 THEN {upstream}{cases} END AS {name}")
    columns.append("fail")
    for i, rule in enumerate(rules.rules):
        if isinstance(rule, RankRule):
            columns.append(f"CASE WHEN up_reason IS NULL THEN {rule.column.sql}::DOUBLE END AS g{i}")
            columns.append(f"{rule.per.sql if rule.per else 'NULL::INTEGER'} AS p{i}")
    for i, term in enumerate(rules.best):
        columns.append(f"CASE WHEN up_reason IS NULL THEN {term.expression.sql} END AS b{i}")
    if watch and watch.value:
        columns.append(f"CASE WHEN up_reason IS NULL THEN ({watch.value})::DOUBLE END AS watched")
        columns.append(f"CASE WHEN up_reason IS NULL THEN ({watch.threshold})::DOUBLE END AS watched_threshold")
    judged = f"CASE WHEN up_reason IS NOT NULL THEN -1 {failed} END::INTEGER AS fail"
    return f"SELECT {', '.join(columns)} FROM (SELECT *, {judged} FROM samples) AS samples"


def _fails(condition: str) -> str:
    return f"NOT coalesce({condition}, false)"


def _number(condition: Expression, which: str) -> str:
    """The number compared in the first of the AND-ed tests that fails; null where that compares none."""
    if not any(getattr(test, which) for test in condition.tests):
        return "NULL::DOUBLE"
    cases = " ".join(f"WHEN {_fails(t.sql)} THEN ({getattr(t, which) or 'NULL'})::DOUBLE" for t in condition.tests)
    return f"CASE {cases} END"


def _detail(rule: KeepRule) -> str:
    """The condition and what the row has in its columns: `clip_score >= 0.28: clip_score = 0.21`."""
    text = " ".join((rule.rule.keep or "").split())
    short = text if len(text) <= _CONDITION_CHARS else text[: _CONDITION_CHARS - 1] + "…"
    values = [f"{quoted(name + ' = ')} || {_shown(_named(name))}" for name in rule.condition.columns]
    return " || ', ' || ".join([quoted(short)]) + ("" if not values else " || ': ' || " + " || ', ' || ".join(values))


def _shown(sql: str) -> str:
    return f"coalesce(left({sql}::VARCHAR, {_VALUE_CHARS}), 'null')"


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
