"""Rows whose fetched bytes are the same."""

import numpy as np
import pyarrow as pa

from stages.dedup.links import Nodes
from stages.dedup.signatures import Signed
from stages.sql import connect


def same_content(content: Signed) -> Nodes:
    """For each node the smallest node with the same sha256 (itself when it is alone). DuckDB groups, and spills."""
    first = np.arange(len(content.node))
    con = connect()
    try:
        con.register("content", pa.table({"node": pa.array(content.node), "sha256": content.value}))
        found = con.execute(
            "SELECT node, first FROM content JOIN (SELECT sha256, min(node) AS first FROM content GROUP BY sha256 "
            "HAVING count(*) > 1) USING (sha256) WHERE node > first"
        ).fetchnumpy()
    finally:
        con.close()
    first[found["node"]] = found["first"]
    return first
