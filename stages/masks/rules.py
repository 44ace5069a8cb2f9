"""What a sample's masks must be for it to stay: rules over what was measured, as select's, judged after the masks."""

from typing import Any, ClassVar

import pyarrow as pa

from schemas.mask import Masked, MaskFacts, NoMasks
from schemas.masks_config import MaskRules
from schemas.recipe import SelectConfig
from schemas.row import Row
from schemas.rules import Rule
from stages.base import Outcome
from stages.families import EVIDENCE, FAMILIES
from stages.late import LateStage
from stages.select.check import Rules, check
from stages.select.rows import sound
from stages.select.statements import rows_statement
from stages.sql import connect


class JudgeMasks(LateStage):
    """Family `masked`. Rejects with the reasons of `NoMasks`, and with those of the recipe's own rules."""

    name = "masks/rules"
    accepts: ClassVar[type[Row]] = MaskFacts
    emits = Masked
    reasons = NoMasks

    def __init__(self, config: MaskRules, families: list[str] | None = None) -> None:
        """`families`: what is measured before; rules may read their columns beside those of MaskFacts.

        Raises WrongRequest for a rule that does not bind.
        """
        super().__init__(config)
        self._families = ["masks", *(f for f in families or () if f not in ("pool", "parts"))]
        self._rules: Rules = check(SelectConfig(rules=built_in(config)), self._columns(), "masks.keep")

    def _columns(self) -> dict[str, pa.DataType]:
        fields = [f for family in self._families for f in FAMILIES[family].arrow_schema()]
        return {f.name: f.type for f in fields if f.name not in ("sample_id", "masks")}

    def reads(self) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {"masks": []}
        for column in self._rules.columns:
            family = next(f for f in self._families if column in FAMILIES[f].columns())
            out.setdefault(family, []).append(column)
        return out

    def process(self, batch: pa.Table) -> Outcome:
        rows = batch.num_rows
        columns: dict[str, Any] = {"sample_id": batch["sample_id"]}
        columns["mask_rules"] = pa.repeat(pa.scalar(len(self._rules.rules), pa.int32()), rows)
        table = pa.table(columns)
        if not rows or not self._rules.rules:
            return Outcome.all_kept(table)
        found = self._judged(batch)
        reason, value, threshold, detail = (found[name].combine_chunks() for name in EVIDENCE.names)
        return Outcome(table, reason, value, threshold, detail)

    def _judged(self, batch: pa.Table) -> pa.Table:
        """reason, value, threshold, detail of each row."""
        n = batch.num_rows
        columns: dict[str, Any] = {name: sound(batch[name].combine_chunks()) for name in self._rules.columns}
        columns |= {"sample_id": batch["sample_id"], "up_pos": pa.array(range(n), pa.int64())}
        columns |= {name: pa.nulls(n, pa.int32()) for name in ("part", "row")}
        columns |= {name: pa.nulls(n, pa.string()) for name in ("up_stage", "up_reason", "up_detail")}
        columns |= {name: pa.nulls(n, pa.float64()) for name in ("up_value", "up_threshold")}
        con = connect(threads=1)
        try:
            con.register("samples", pa.table(columns))
            wanted: Any = con.sql(
                f"SELECT {', '.join(EVIDENCE.names)} FROM ({rows_statement(self._rules)}) ORDER BY pos"
            )
            return wanted.to_arrow_table().cast(EVIDENCE)
        finally:
            con.close()


def built_in(config: MaskRules) -> list[Rule]:
    """The rules that the settings stand for, then the recipe's own."""
    rules = [Rule(reason=NoMasks.no_mask.value, keep="mask_count > 0")] if config.require else []
    if config.smallest:
        # a sample without masks is no_mask's affair
        largest = (
            "mask_largest"
            if config.require
            else f"CASE WHEN mask_count = 0 THEN {config.smallest} ELSE mask_largest END"
        )
        rules.append(Rule(reason=NoMasks.mask_too_small.value, keep=f"{largest} >= {config.smallest}"))
    if config.agreement:
        keep = f"coalesce(box_agreement, 1) >= {config.agreement!r}"
        rules.append(Rule(reason=NoMasks.box_disagrees.value, keep=keep))
    return [*rules, *config.rules]
