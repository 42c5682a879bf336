"""The paper's table: mean Dice at its four scales, and overall; the published numbers may stand below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rareunet_training.evaluation.conditions import SCALES, scale_name
from rareunet_training.evaluation.published import PUBLISHED
from rareunet_training.evaluation.scores import Score, Summary, mean_of, summarise


def paper_rows(
    models: Mapping[str, Sequence[Score]], protocol: str, published: str = ""
) -> dict[str, list[Summary]]:
    """The paper's table: for each model the scales 1, 1/2, 1/4, 1/8 and overall (each case's mean over the scales).

    Args:
        models: scores by the model's name; those without all four scales are left out.
        protocol: "aligned" or "published".
        published: one of published.PUBLISHED, whose rows follow under the published protocol; '' for none.
    """
    rows = {}
    for model, scores in models.items():
        scales = [[s for s in scores if s.condition == scale_name(scale, protocol)] for scale in SCALES]
        if not all(scales):
            continue
        means = [{s.case: s.mean_dice for s in scale} for scale in scales]
        overall = [mean_of([scale.get(case, np.nan) for scale in means]) for case in means[0]]
        found = [mean for mean in overall if np.isfinite(mean)]
        spread = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
        rows[model] = [*map(summarise, scales), Summary(len(found), mean_of(found), spread, ())]
    return rows | _published_rows(published) if rows and protocol == "published" and published else rows


def _published_rows(name: str) -> dict[str, list[Summary]]:
    """The paper's overall spread is over the scales, not over cases, so it is not shown."""
    table = PUBLISHED[name]
    return {
        f"{row.method} (published)": [
            *(Summary(table.cases, mean, sd, ()) for mean, sd in zip(row.means, row.sds, strict=True)),
            Summary(table.cases, row.overall, float("nan"), ()),
        ]
        for row in table.rows
    }


def paper_table(models: Mapping[str, Sequence[Score]], protocol: str, published: str = "") -> str:
    """`paper_rows` as text; empty if no model was scored at all four scales."""
    rows = paper_rows(models, protocol, published)
    if not rows:
        return ""
    width = max(map(len, (*rows, "model")))
    lines = [
        f"Dice, {protocol} protocol",
        f"{'model':<{width}}" + "".join(f"  {s:<14}" for s in (*SCALES, "overall")),
    ]
    lines += [f"{name:<{width}}" + "".join(f"  {s.text():<14}" for s in row) for name, row in rows.items()]
    return "\n".join(line.rstrip() for line in lines)
