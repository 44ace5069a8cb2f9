"""`pairmill report`: a build as one HTML page, to be read and sent without anything beside it.

The page is a function of the build: which samples are shown is decided by their hash or by their distance from a
threshold, and it names no path, no host and no time. It holds no script and asks no network: its own policy forbids
both. Text from the pool and from teachers is escaped, and cut. Every picture is at most 9 kB, an overlay 40 kB, and
their number is bounded, so a page stays under 6 MB, however large the build.
"""

from pipelines.manifest import MANIFEST
from pipelines.recipe_file import parse, validated
from pipelines.report.duplicates import duplicates
from pipelines.report.markup import Markup, join, tag
from pipelines.report.masked import masks
from pipelines.report.overview import head, survival
from pipelines.report.rules import rules
from pipelines.report.section import Built
from pipelines.report.style import CSS
from pipelines.report.talk import talk
from pipelines.stats import stats
from stages.store import Store

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_SECTIONS = (rules, duplicates, masks, talk)


def page(store: Store) -> bytes:
    """The page, UTF-8. Raises WrongRequest where there is no build, WrongData for one that is damaged."""
    name = f"{store.url}/recipe.yaml"
    recipe = validated(parse(store.read_bytes("recipe.yaml").decode(), name), name)
    built = Built(store, recipe, store.exists(MANIFEST))
    lines = stats(store)
    sections = [survival(lines), *(found for of in _SECTIONS if (found := of(built)) is not None)]
    links = tag("nav", *(tag("a", one.title, href=f"#{one.anchor}") for one in sections), aria_label="contents")
    body = tag("body", head(built, lines), links, tag("main", *(one.markup() for one in sections)), _foot())
    return b"<!doctype html>\n" + tag("html", _head(recipe.name), body, lang="en").encode()


def _head(name: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name}: pairmill report"),
        tag("style", Markup(CSS)),
    )


def _foot() -> Markup:
    said = "Under each picture is the beginning of its sample_id; one sample's whole story: "
    return tag("footer", tag("p", join(said, tag("code", "pairmill explain BUILD SAMPLE_ID"))))
