"""What an evaluation leaves: tables on the terminal, scores.json, scores.csv and scores.html."""

from __future__ import annotations

from pathlib import Path

from rareunet_training.paper_table import paper_table
from rareunet_training.score_files import ScoreSet, write_scores
from rareunet_training.scores import memory_note, not_found, table, write_csv


def show(scores: ScoreSet) -> None:
    """Prints the tables."""
    print(table(scores.scores, scores.labels), flush=True)
    for protocol in ("aligned", "published"):
        if text := paper_table({scores.name: scores.scores}, protocol):
            print(f"\n{text}")
    if absences := not_found(scores.scores, scores.labels):
        print("\n" + "\n".join(absences))
    if note := memory_note(scores.scores):
        print(f"\n{note}")


def write(scores: ScoreSet, output: Path) -> None:
    """Writes scores.json, scores.csv and scores.html."""
    from rareunet_training.reports.score_pages import write_score_page  # Jinja and matplotlib take a second

    output.mkdir(parents=True, exist_ok=True)
    write_scores(scores, output / "scores.json")
    write_csv(scores.scores, scores.labels, output / "scores.csv")
    write_score_page(scores, output / "scores.html")
