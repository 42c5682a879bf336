"""What a sweep found: a table of its trials, a picture, and the command that repeats the best one."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from rareunet.whole_files import replacing
from rareunet_training.sweep.search_space import SweepPlan
from rareunet_training.sweep.trials import ERROR_KEY, replaced_trials

FEWEST_FOR_IMPORTANCES = 10
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The finished trial of the highest Dice; None before the first has finished."""
    finished = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return max(finished, key=lambda trial: trial.value or 0.0, default=None)


def repeat_command(plan: SweepPlan, trial: FrozenTrial) -> str:
    """The command line that trains with a trial's settings."""
    output = plan.output.parent / f"{plan.output.name}_best"
    words = [
        "python",
        "-m",
        "rareunet_training",
        "fit",
        "--config",
        str(plan.config),
        "--output",
        str(output),
    ]
    return shlex.join([*words, *plan.settings(trial.params)])


def describe(trial: FrozenTrial) -> str:
    """A trial on one line."""
    point = " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
    dice = f"mean Dice {trial.value:.4f}" if trial.value is not None else trial.user_attrs.get(ERROR_KEY, "")
    return f"trial {trial.number} {STATES[trial.state]} after epoch {trial.last_step or 0}: {dice} ({point})"


def write_report(plan: SweepPlan, study: optuna.Study) -> None:
    """Writes sweep.csv and, once two trials have finished, sweep.png into the output folder."""
    trials = study.get_trials(deepcopy=False)
    _write_csv(plan, study, trials)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(finished) > 1:
        _draw(plan, finished, _importances(study), plan.output / "sweep.png")


def _write_csv(plan: SweepPlan, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    replaced, table = replaced_trials(study), plan.output / "sweep.csv"
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", "mean_dice", "epoch", "seconds", "folder", *plan.space])
        for trial in trials:
            state = replaced.get(trial.number, STATES[trial.state])
            dice = trial.intermediate_values.get(trial.last_step or 0)
            writer.writerow(
                [
                    trial.number,
                    state,
                    "" if dice is None else f"{dice:.4f}",
                    trial.last_step or "",
                    f"{trial.duration.total_seconds():.0f}" if trial.duration else "",
                    plan.folder(trial).name,
                    *(trial.params.get(name, "") for name in plan.space),
                ]
            )


def _importances(study: optuna.Study) -> dict[str, float]:
    """Share of each setting in how far the trials differ; empty where there are too few to tell."""
    if len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])) < FEWEST_FOR_IMPORTANCES:
        return {}
    try:
        return optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ImportError):  # all equal, or an Optuna that needs scikit-learn for it
        return {}


def _draw(plan: SweepPlan, trials: Sequence[FrozenTrial], importances: dict[str, float], path: Path) -> None:
    """Mean Dice against each setting, a point per finished trial, the best one circled."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(1.5 + 3 * len(plan.space), 3.4), layout="constrained")
    axes = figure.subplots(1, len(plan.space), sharey=True, squeeze=False)[0]
    dice, numbers = [trial.value for trial in trials], [trial.number for trial in trials]
    best = max(range(len(trials)), key=lambda index: dice[index] or 0.0)
    for axis, (name, distribution) in zip(axes, plan.space.items(), strict=True):
        places = [trial.params[name] for trial in trials]
        if isinstance(distribution, CategoricalDistribution):
            places = [distribution.choices.index(value) for value in places]
            axis.set_xticks(range(len(distribution.choices)), map(str, distribution.choices))
            axis.margins(x=0.4)
        elif isinstance(distribution, FloatDistribution) and distribution.log:
            axis.set_xscale("log")
        points = axis.scatter(places, dice, c=numbers, cmap="viridis_r", zorder=3)
        axis.scatter(places[best], dice[best], s=140, facecolors="none", edgecolors="tab:red", zorder=4)
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
        if name in importances:
            axis.set_title(f"importance {importances[name]:.2f}", fontsize="medium")
    axes[0].set_ylabel("mean Dice")
    figure.colorbar(points, ax=list(axes), label="trial", ticks=MaxNLocator(integer=True))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
