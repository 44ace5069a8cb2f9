"""Questions to a build, in SQL."""

from typing import Any

from stages.store import Store
from stages.views import open_views


def rows(store: Store, query: str) -> list[Any]:
    """What a query over the views answers."""
    con = open_views(store)
    try:
        return con.execute(query).fetchall()
    finally:
        con.close()
