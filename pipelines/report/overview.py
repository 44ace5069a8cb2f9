"""The head of the page and the survival table."""

from pipelines.manifest import read_manifest
from pipelines.report.figures import FALLS, GONE, PASSES, shares, swatch
from pipelines.report.markup import Markup, count, join, share, tag
from pipelines.report.section import Built, Section
from pipelines.stats import StageLine
from stages.families import all_families_of, stage_of
from stages.views import open_views


def head(built: Built, lines: list[StageLine]) -> Markup:
    """Title, whether the build is finished, what it is in numbers."""
    first, last = lines[0], lines[-1]
    facts = [("rows in", f"{first.rows_in:,}")]
    kept = f"{last.kept:,}"
    if built.finished:
        manifest = read_manifest(built.store)
        facts += [("kept", f"{kept} ({share(last.kept, first.rows_in)})")]
        facts += [("rejected", f"{first.rows_in - last.kept:,}, each with its reason in the ledger")]
        facts += [("shards", _shards(built)), ("fingerprint", manifest.fingerprint)]
    else:
        facts += [("left after the last stage so far", kept)]
    return tag(
        "header",
        tag("p", "pairmill report", class_="kicker"),
        tag("h1", built.recipe.name),
        None if built.finished else _unfinished(built),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", _broken(value))) for name, value in facts), class_="facts"),
    )


def survival(lines: list[StageLine]) -> Section:
    """A bar for each stage, its reasons under it."""
    inputs = lines[0].rows_in
    header = tag("tr", *(tag("th", n, scope="col", class_=c) for n, c in _COLUMNS))
    body = [row for one in lines for row in _stage(one, inputs)]
    legend = tag(
        "p",
        swatch(PASSES, "left after the stage"),
        swatch(FALLS, "rejected by it"),
        swatch(GONE, "gone before, or not there yet"),
        class_="legend",
    )
    said = f"Each bar is all {inputs:,} rows of the pool."
    table = tag("table", tag("thead", header), tag("tbody", *body), class_="survival")
    return Section("survival", "What became of every row", join(tag("p", said), legend, table))


_COLUMNS = (
    ("stage", None),
    ("rows in", "number wide"),
    ("rejected", "number"),
    ("left", "number"),
    ("share of all rows", "bars"),
)


def _stage(one: StageLine, inputs: int) -> list[Markup]:
    gone = one.rows_in - one.kept
    title = f"{one.stage}: {count(one.kept, 'row')} left of {inputs:,}, {gone:,} rejected"
    left = tag("span", share(one.kept, inputs), class_="percent")
    rows = [
        tag(
            "tr",
            tag("th", one.stage, scope="row"),
            tag("td", f"{one.rows_in:,}", class_="number wide"),
            tag("td", f"{gone:,}" if gone else "", class_="number"),
            tag("td", f"{one.kept:,}", class_="number"),
            tag("td", shares([(one.kept, PASSES), (gone, FALLS), (inputs - one.rows_in, GONE)], inputs, title), left),
            class_="stage",
        )
    ]
    for reason, rejected in one.rejected.items():
        of = join(share(rejected, one.rows_in), tag("span", " of the rows in", class_="wide"))
        cells = tag("td", "", class_="wide"), tag("td", f"{rejected:,}", class_="number"), tag("td", "")
        rows.append(tag("tr", tag("th", reason, scope="row"), *cells, tag("td", of), class_="reason"))
    return rows


def _shards(built: Built) -> str:
    """`2 for training with 74 samples, 1 for validation with 4; 1.2 MB`."""
    con = open_views(built.store, [])
    try:
        query = "SELECT split, count(DISTINCT shard), count(*) FROM shards GROUP BY split ORDER BY split"
        rows = con.execute(query).fetchall()
    finally:
        con.close()
    tars = sum(size for name, size in built.store.listing("shards").items() if name.endswith(".tar"))
    said = [f"{split}: {count(samples, 'sample')} in {count(shards, 'tar')}" for split, shards, samples in rows]
    return f"{'; '.join(said) or 'none'}; {size_of(tars)}"


def size_of(size: int) -> str:
    """Bytes in decimal units."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} bytes"


def _unfinished(built: Built) -> Markup:
    parts = built.done("pool")
    stages = [f"{stage_of(family)} {built.done(family):,}" for family in all_families_of(built.recipe)]
    said = f"The build is not finished: what follows is about what is there. Parts done, of {parts:,} read so far: "
    return tag("p", tag("strong", "Unfinished. "), said + ", ".join(stages) + ".", class_="warning")


def _broken(value: str) -> Markup:
    """A long word may break anywhere."""
    return tag("code", value) if len(value) == 64 and " " not in value else join(value)
