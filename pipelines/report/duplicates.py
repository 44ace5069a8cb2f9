"""Some groups of duplicates side by side: what links them, and which member survived."""

from typing import TYPE_CHECKING, Any

from pipelines.report.bounds import Bound
from pipelines.report.histogram import bins, one
from pipelines.report.markup import Markup, count, join, number, tag
from pipelines.report.pictures import Place, Shown, look, tile
from pipelines.report.rules import plot
from pipelines.report.section import Built, Section
from schemas.recipe import DedupConfig
from stages.families import SELECTION
from stages.views import open_views

if TYPE_CHECKING:
    import duckdb

GROUPS = "groups/duplicates.parquet"
_PER_KIND = 3
_MOST = 8
_MEMBERS = 6
_DISTANCE = {"near": "differing bits of PDQ (of 256)", "semantic": "1 − cosine of the CLIP image embeddings"}
"""Kind → what its distance is; exact duplicates have none."""


def duplicates(built: Built) -> Section | None:
    """None where duplicates were not looked for, or there are none."""
    if not built.store.exists(GROUPS):
        return None
    con = open_views(built.store, ["pool"])
    try:
        rows, groups = one(con, 'SELECT count(*), count(DISTINCT "group") FROM groups')
        if not rows:
            return None
        kinds = con.execute("SELECT kind, count(*) FROM groups GROUP BY kind ORDER BY kind").fetchall()
        said = ", ".join(f"{number:,} {kind}" for kind, number in kinds)
        intro = f"{count(groups, 'group')} with {count(rows, 'member')}; by their nearest link: {said}."
        figures = [_distances(con, kind, built.recipe.dedup) for kind, _ in kinds if kind in _DISTANCE]
        chosen = _chosen(con)
        members = _members(con, [group for group, _, _ in chosen], built.store.exists(SELECTION))
    finally:
        con.close()
    places = [Place(m["part"], m["row"], m["sample_id"]) for m in members]
    seen = look(built.store, places)
    cards = [_group(size, [m for m in members if m["group"] == group], seen) for group, _, size in chosen]
    more = "Shown of each kind: the group with the farthest link, then some in order of their hash."
    plots = tag("div", *figures, class_="plots") if figures else None
    return Section(
        "duplicates", "Duplicates", join(tag("p", intro), plots, tag("p", more), tag("div", *cards, class_="groups"))
    )


def _distances(con: "duckdb.DuckDBPyConnection", kind: str, config: DedupConfig | None) -> Markup:
    """How far a kind's members are from what they are linked to, with the recipe's limit."""
    limit: float | None = None
    if config is not None and kind == "near" and config.near is not None:
        limit = float(config.near.radius)
    if config is not None and kind == "semantic" and config.semantic is not None:
        limit = 1.0 - config.semantic.threshold
    bounds = () if limit is None else (Bound(limit, ">"),)
    relation = f"(SELECT distance FROM groups WHERE kind = '{kind}')"
    found = bins(con, relation, "distance", "false", [bound.value for bound in bounds])
    return plot(found, f"Distance of {kind} duplicates to their nearest", _DISTANCE[kind], bounds, "linked")


def _chosen(con: "duckdb.DuckDBPyConnection") -> list[tuple[str, str, int]]:
    """(group, kind of its farthest link, members)."""
    return con.execute(
        f"""WITH sized AS (SELECT "group" AS g, max_by(kind, (distance, kind)) AS kind, max(distance) AS far,
                                  count(*) AS size FROM groups GROUP BY g),
                 far AS (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY far DESC, g) > 1 AS nearer FROM sized),
                 ranked AS (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY nearer, g) AS place FROM far)
            SELECT g, kind, size FROM ranked WHERE place <= {_PER_KIND} ORDER BY kind, place LIMIT {_MOST}"""
    ).fetchall()


def _members(con: "duckdb.DuckDBPyConnection", groups: list[str], decided: bool) -> list[dict[str, Any]]:
    """The members of some groups, at most _MEMBERS of each: the survivor first, then by sample_id."""
    if decided:
        what, order, join = (
            "s.kept, s.reason",
            "coalesce(s.kept, false) DESC,",
            "LEFT JOIN selection AS s USING (sample_id)",
        )
    else:
        what, order, join = "NULL AS kept, NULL AS reason", "", ""
    cursor = con.execute(
        f"""SELECT * FROM (
                SELECT pool.part, pool.row, sample_id, "group", kind, distance, linked_to, {what}, row_number() OVER (
                    PARTITION BY "group" ORDER BY {order} sample_id) AS place
                FROM (SELECT * FROM groups WHERE list_contains(?, "group")) JOIN pool USING (sample_id) {join}
            ) WHERE place <= {_MEMBERS} ORDER BY "group", place""",
        [groups],
    )
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _group(size: int, members: list[dict[str, Any]], seen: dict[str, Shown]) -> Markup:
    tiles = [tile(seen[m["sample_id"]], _fate(m), _link(m)) for m in members]
    more = f", {len(members)} of them shown" if size > len(members) else ""
    return tag(
        "article",
        tag("h4", f"Group {members[0]['group'][:12]}, {count(size, 'member')}{more}"),
        tag("div", *tiles, class_="tiles"),
    )


def _fate(member: dict[str, Any]) -> str:
    if member["kept"] is None:
        return "not decided yet"
    if member["kept"]:
        return "survived"
    return "dropped as duplicate" if member["reason"] == "duplicate" else f"rejected: {member['reason']}"


def _link(member: dict[str, Any]) -> str:
    distance = "" if member["kind"] == "exact" else f", distance {number(member['distance'])}"
    return f"{member['kind']}{distance} to {member['linked_to'][:12]}"
