"""Conversations: what was kept, dropped and paid for, some of each to read, with their pictures."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from pipelines.report.figures import FALLS, PASSES, shares, swatch
from pipelines.report.markup import Markup, count, join, line, lines, share, tag
from pipelines.report.pictures import THUMB_BYTES, Place, Shown, by_part, data_url, look, rows_of
from pipelines.report.section import Built, Section
from pipelines.synthesis_stats import FAMILY, KindLine, Synthesis, money, synthesis_summary
from stages.ahead import ahead
from stages.families import part_files
from stages.store import Store

pc: Any = pyarrow.compute  # its stubs refuse plain Python scalars

_EXAMPLES, _DROPPED = 12, 8
_TURNS, _TURN, _EVIDENCE, _WRITTEN = 8, 600, 300, 900


class Example(NamedTuple):
    """One conversation, kept or dropped: what it is an example of, and where it is."""

    what: str
    place: Place
    at: int
    """Index into the sample's list."""


def talk(built: Built) -> Section | None:
    """None where nobody was asked."""
    summary = synthesis_summary(built.store)
    if summary is None or not summary.samples:
        return None
    intro = tag("p", _said(summary))
    kept = _examples(built.store, "conversations", "kind", _EXAMPLES)
    dropped = _examples(built.store, "dropped", "reason", _DROPPED)
    seen = look(built.store, [example.place for example in (*kept, *dropped)])
    rows = _rows(built.store, [example.place for example in (*kept, *dropped)])
    content = [intro, _legend(), _table(summary)]
    if kept:
        cards = [_card(rows[e.place.sample_id]["conversations"][e.at], seen[e.place.sample_id]) for e in kept]
        content += [tag("h3", "Kept conversations, some of each kind"), tag("div", *cards, class_="talks")]
    if dropped:
        cards = [_thrown(rows[e.place.sample_id]["dropped"][e.at], seen[e.place.sample_id]) for e in dropped]
        content += [
            tag("h3", "Dropped conversations, with what spoke against them"),
            tag("div", *cards, class_="talks"),
        ]
    return Section("conversations", "Conversations", join(*content))


def _said(summary: Synthesis) -> str:
    total, each = summary.total, summary.cost_per_kept_sample
    said = f"{summary.with_conversation:,} of {count(summary.samples, 'sample')} have a conversation; "
    said += f"{total.kept:,} of {count(total.written, 'conversation')} were kept"
    said += f", {total.repaired:,} of them written twice." if total.repaired else "."
    if total.pico:
        said += f" They cost {_amount(total.pico)}, {share(total.pico_dropped, total.pico)} of it for what was dropped"
        said += "." if each is None else f"; {float(each):.6f} per sample with a conversation."
    return said


def _table(summary: Synthesis) -> Markup:
    """A line for each kind and teacher, with the reasons of what was dropped; no column in which all is nothing."""
    total, most = summary.total, max((of.written for of in summary.lines), default=0)
    there = {
        "dropped": bool(total.dropped),
        "reasons": bool(total.dropped),
        "tokens in": bool(total.prompt_tokens),
        "tokens out": bool(total.completion_tokens),
        "cost": bool(total.pico),
    }
    lines_ = [{name: cell for name, cell in _kind(of, most).items() if there.get(name, True)} for of in summary.lines]
    numbers = {"kept", "dropped", "tokens in", "tokens out", "cost"}
    names = [tag("th", n, scope="col", class_="number" if n in numbers else None) for n in (lines_ or [{}])[0]]
    body = [tag("tr", *of.values()) for of in lines_]
    table = tag("table", tag("thead", tag("tr", *names)), tag("tbody", *body), class_="kinds")
    return tag("div", table, class_="scroll")


def _kind(of: KindLine, most: int) -> dict[str, Markup]:
    """Column → cell."""
    dropped = of.dropped.total()
    title = f"{of.kind}: {of.kept:,} kept, {dropped:,} dropped ({share(dropped, of.written)})"
    by = tag("span", f" by {line(of.teacher, 60)}", class_="note")
    counts = {"tokens in": of.prompt_tokens, "tokens out": of.completion_tokens}
    return {
        "kind": tag("th", line(of.kind, 40), by, scope="row"),
        "kept": tag("td", f"{of.kept:,}", class_="number"),
        "dropped": tag("td", f"{dropped:,}" if dropped else "", class_="number"),
        "conversations": tag("td", shares([(of.kept, PASSES), (dropped, FALLS)], most, title), class_="bars"),
        "reasons": tag("td", ", ".join(f"{reason} {n:,}" for reason, n in of.dropped.items())),
        **{name: tag("td", f"{n:,}", class_="number") for name, n in counts.items()},
        "cost": tag("td", _amount(of.pico), class_="number"),
    }


def _examples(store: Store, of: str, by: str, most: int) -> list[Example]:
    """Conversations with the smallest sample_ids, as many of each `by` as there is room for; one per sample of a kind.

    Reads one column of the lists, never their texts.
    """
    each: dict[str, list[Example]] = defaultdict(list)
    columns = ["sample_id", f"{of}.list.element.{by}"]

    def part(item: tuple[int, str]) -> list[Example]:
        return list(_of_part(store.read_table(item[1], columns), item[0], of, by, most))

    for found in ahead(part, part_files(store, FAMILY).items()):
        for example in found:
            each[example.what].append(example)
        for what in each:
            each[what] = sorted(each[what], key=lambda e: e.place.sample_id)[:most]
    room = max(1, most // max(1, len(each)))
    shown = [example for what in sorted(each) for example in each[what][: min(room, 3)]]
    return shown[:most]


def _of_part(table: pa.Table, part: int, of: str, by: str, most: int) -> Iterable[Example]:
    """The first `most` of each kind or reason in one part."""
    lists, ids = table[of].combine_chunks(), table["sample_id"]
    parents = pc.list_parent_indices(lists)
    said = pa.table({"row": parents, "what": pc.struct_field(pc.list_flatten(lists), [by])})
    place = pc.subtract(pa.array(range(len(said)), pa.int64()), _starts(parents, len(lists)))
    said = said.append_column("at", place).append_column("id", ids.take(parents))
    for what in pc.unique(said["what"]).to_pylist():
        mine = said.filter(pc.equal(said["what"], what))
        seen = set[int]()
        for one in (
            mine.take(pc.sort_indices(mine, [("id", "ascending"), ("at", "ascending")])).slice(0, 8 * most).to_pylist()
        ):
            if one["row"] not in seen and len(seen) < most:
                seen.add(one["row"])
                yield Example(what, Place(part, one["row"], one["id"]), one["at"])


def _starts(parents: Any, rows: int) -> Any:
    """For each element, the index of the first element of its list."""
    import numpy as np

    of = np.asarray(parents)
    first = np.searchsorted(of, np.arange(rows))
    return pa.array(first[of], pa.int64())


def _rows(store: Store, places: list[Place]) -> dict[str, dict[str, Any]]:
    def part(of: tuple[int, list[Place]]) -> dict[str, dict[str, Any]]:
        rows = rows_of(store, FAMILY, of[0], [place.row for place in of[1]], ["conversations", "dropped"])
        return {place.sample_id: rows[place.row] for place in of[1]}

    return {sample: row for found in ahead(part, by_part(places).items()) for sample, row in found.items()}


def _card(said: dict[str, Any], shown: Shown) -> Markup:
    turns = [_turn(turn) for turn in said["turns"][:_TURNS]]
    more = len(said["turns"]) - _TURNS
    if said["rejected"] is not None:
        turns.append(
            tag("p", tag("b", "worse answer "), lines(said["rejected"], _TURN), class_="turn worse", dir="auto")
        )
        turns.append(tag("p", f"its planted error: {line(said['planted'] or 'not said', _EVIDENCE)}", class_="note"))
    if more > 0:
        turns.append(tag("p", f"and {count(more, 'turn')} more", class_="note"))
    several = f", about {len(said['images'])} pictures" if said["images"] else ""
    repaired = ", written twice" if said["repaired"] else ""
    return _entry(f"{said['kind']}{several}{repaired}", said["teacher"], shown, turns)


def _turn(turn: dict[str, Any]) -> Markup:
    role = "Q" if turn["role"] == "user" else "A"
    rests = line(", ".join(turn["evidence"]), 80)
    return tag(
        "p",
        tag("b", f"{role} "),
        lines(turn["text"], _TURN),
        tag("span", f" [{rests}]", class_="note") if rests else None,
        class_=f"turn {'asked' if role == 'Q' else 'said'}",
        dir="auto",
    )


def _thrown(said: dict[str, Any], shown: Shown) -> Markup:
    where = f" in turn {said['turn'] + 1}" if said["turn"] is not None else ""
    told = [tag("p", tag("b", f"{said['reason']}{where}: "), line(said["evidence"], _EVIDENCE), class_="finding")]
    if said["text"]:
        told.append(tag("p", lines(said["text"], _WRITTEN), class_="turn written", dir="auto"))
    return _entry(f"{said['kind']}, dropped", said["teacher"], shown, told)


def _entry(title: str, teacher: str, shown: Shown, content: list[Markup]) -> Markup:
    if shown.rgb is None:
        picture = tag("div", tag("span", shown.why), class_="frame none")
    else:
        height, width = shown.rgb.shape[:2]
        url, alt = data_url(shown.rgb, THUMB_BYTES), shown.caption or "a picture without a caption"
        picture = tag("div", tag("img", src=url, alt=alt, width=width, height=height), class_="frame")
    head = tag("h4", line(title, 80), tag("span", f" by {line(teacher, 60)}", class_="note"))
    aside = tag("div", picture, tag("code", shown.sample_id[:12]), class_="aside")
    caption = tag("p", tag("b", "caption "), shown.caption, class_="note", dir="auto") if shown.caption else None
    return tag("article", aside, tag("div", head, caption, *content, class_="body"), class_="talk")


def _legend() -> Markup:
    return tag("p", swatch(PASSES, "kept"), swatch(FALLS, "dropped"), class_="legend")


def _amount(pico: int) -> str:
    amount = money(pico)
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.6f}"
