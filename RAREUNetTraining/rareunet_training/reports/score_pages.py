"""scores.html and comparison.html: one file each, with the pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from rareunet.whole_files import write_whole
from rareunet.wording import times
from rareunet_training.evaluation.baselines import BASELINES
from rareunet_training.evaluation.comparison import Comparison, PairedDifference, title_of
from rareunet_training.evaluation.conditions import SCALES
from rareunet_training.evaluation.metrics import METRICS
from rareunet_training.evaluation.paper_table import paper_rows
from rareunet_training.evaluation.score_files import ScoreSet
from rareunet_training.evaluation.scores import (
    FRAMES,
    Score,
    by_condition,
    by_condition_and_spacing,
    memory_note,
    not_found,
    spacing_of,
    summarise,
)
from rareunet_training.reports.score_plots import (
    as_image,
    cases_by_condition,
    dice_by_spacing,
    differences_by_condition,
)

WORST_CASES = 10
HASH = "SHA-256 of the weights"


@dataclass(frozen=True)
class Table:
    """A table of the page: a caption, column titles, rows of cells; the first cell names the row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_score_page(scores: ScoreSet, path: Path) -> None:
    """Writes the page of an evaluation."""
    measured = any(score.in_world for score in scores.scores)
    tables = [_measures(scores.scores, frame) for frame in FRAMES] if measured else []
    structures = [_structures(scores, "dice", "scan")]
    if measured:
        structures += [_structures(scores, metric, "world") for metric in ("hd95_mm", "volume_error_percent")]
    _write(
        "scores.html.jinja",
        path,
        scores=scores,
        facts=_facts(scores),
        spacing_plot=_image(dice_by_spacing([scores])),
        case_plot=_image(cases_by_condition(scores.scores)),
        tables=tables,
        structures=structures,
        papers=_papers([scores]),
        absences=not_found(scores.scores, scores.labels),
        worst=_worst(scores.scores),
    )


def write_comparison_page(comparison: Comparison, path: Path, seconds_figure: Figure | None = None) -> None:
    """Writes the page of a comparison.

    Args:
        seconds_figure: Dice against seconds, see trade_off.trade_off; None leaves it out.
    """
    sets, pairs, metric = comparison.sets, comparison.pairs, comparison.metric
    title = title_of(metric)
    _write(
        "comparison.html.jinja",
        path,
        names=", ".join(scores.name for scores in sets),
        models=_models(sets),
        title=f"{title} {FRAMES[comparison.frame]}",
        forest=_image(differences_by_condition(pairs, title)),
        tables=[table for differences in pairs for table in _paired(differences, metric)],
        spacing_plot=_image(dice_by_spacing(sets)),
        seconds_plot=_image(seconds_figure),
        papers=_papers(sets, comparison.published),
        left_out=comparison.left_out,
    )


def _write(template: str, path: Path, **content: Any) -> None:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    write_whole(path, environment.get_template(template).render(content))


def _image(figure: Any) -> str:
    return as_image(figure) if figure is not None else ""


def _facts(scores: ScoreSet) -> dict[str, str]:
    model = scores.model
    facts = {"Data": f"{scores.data}, {len(scores.references)} cases", "Structures": ", ".join(scores.labels)}
    if model:
        named = " ".join(str(model[key]) for key in ("name", "version") if key in model)
        facts["Model"] = named or "several"  # folds whose models were named apart
        if model.get("presented"):
            way = str(model["presented"])
            facts["Presented"] = BASELINES.get(way, way)
        if model.get("parameters"):
            facts["Weights"] = f"{int(model['parameters']) / 1e6:.2f} million"
        if model.get("sha256"):
            facts[HASH] = str(model["sha256"])
    else:
        facts["Model"] = "saved predictions"
    if note := memory_note(scores.scores):
        facts["Memory"] = note
    return facts


def _models(sets: Sequence[ScoreSet]) -> Table:
    rows = []
    for scores in sets:
        facts = _facts(scores)
        columns = [facts.get("Weights", "–"), facts[HASH][:12] if HASH in facts else "–", facts["Data"]]
        rows.append([scores.name, facts["Model"], facts.get("Presented", "–"), *columns])
    return Table("Compared", ["", "model", "presented", "weights", f"{HASH}, beginning", "data"], rows)


def _measures(scores: Sequence[Score], frame: str) -> Table:
    columns = ["condition", "R x A x S (mm)", "cases", *(metric.title for metric in METRICS.values())]
    rows = []
    for condition, group in by_condition_and_spacing(scores).items():
        cells = [condition, times(reversed(spacing_of(group)), ".3g"), str(len(group))]
        cells += [_text(group, metric, frame) for metric in METRICS]
        rows.append(cells)
    return Table(FRAMES[frame].capitalize(), columns, rows)


def _structures(scores: ScoreSet, metric: str, frame: str) -> Table:
    decimals = METRICS[metric].decimals
    rows = [
        [condition, *(_number(value, decimals) for value in summarise(group, metric, frame).by_label)]
        for condition, group in by_condition(scores.scores).items()
    ]
    return Table(f"{METRICS[metric].title}, {FRAMES[frame]}", ["condition", *scores.labels], rows)


def _papers(sets: Sequence[ScoreSet], published: str = "") -> list[Table]:
    tables = []
    for protocol in ("aligned", "published"):
        rows = paper_rows({scores.name: scores.scores for scores in sets}, protocol, published)
        if rows:
            cells = [[name, *(s.text().replace("+-", "±") for s in row)] for name, row in rows.items()]
            tables.append(Table(f"Dice, {protocol} protocol", ["model", *SCALES, "overall"], cells))
    return tables


def _paired(differences: Sequence[PairedDifference], metric: str) -> list[Table]:
    """A table of the conditions, and one of the means over several if there are any."""
    first, decimals = differences[0], METRICS[metric].decimals
    title = f"{first.other} against {first.base}"
    columns = ["cases", first.base, first.other, "difference ± SE", "95 % interval (t)", "p", "p (Holm)",
               "better / worse", "seconds, both", "ratio"]  # fmt: skip

    def row(d: PairedDifference) -> list[str]:
        return [
            str(d.cases), _number(d.base_mean, decimals), _number(d.other_mean, decimals),
            f"{_signed(d.difference, decimals)} ± {_number(d.standard_error, decimals)}",
            f"{_signed(d.interval[0], decimals)} to {_signed(d.interval[1], decimals)}" if d.cases > 1 else "–",
            f"{d.p_value:.2g}", f"{d.p_holm:.2g}", f"{d.wins} / {d.losses}",
            f"{_number(d.base_seconds, 3)} / {_number(d.other_seconds, 3)}", _number(d.seconds_ratio, 2),
        ]  # fmt: skip

    single = [[d.condition, *row(d)] for d in differences if d.conditions == 1]
    means = [[d.condition, str(d.conditions), *row(d)] for d in differences if d.conditions > 1]
    tables = [Table(title, ["condition", *columns], single)]
    if means:
        tables.append(Table(f"{title}: means over conditions", ["", "conditions", *columns], means))
    return tables


def _worst(scores: Sequence[Score]) -> Table:
    ranked = sorted((s for s in scores if np.isfinite(s.mean_dice)), key=lambda s: s.mean_dice)[:WORST_CASES]
    rows = [
        [s.case, s.condition, times(reversed(s.spacing_mm), ".3g"), _number(s.mean_dice, 3)] for s in ranked
    ]
    return Table("Lowest Dice", ["case", "condition", "R x A x S (mm)", "Dice"], rows)


def _text(scores: Sequence[Score], metric: str, frame: str) -> str:
    return summarise(scores, metric, frame).text(METRICS[metric].decimals).replace("+-", "±")


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if np.isfinite(value) else "–"


def _signed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"  # + 0.0 turns -0.0 into 0.0
