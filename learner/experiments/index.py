"""The index of a folder of reports: every question with its answer, its figure and its pictures."""

from __future__ import annotations

from pathlib import Path

from learner.experiments.catalogue import NAMES
from learner.experiments.report import JSON, MARKDOWN, Report, figure_line, is_whole, read

INDEX = "index.md"


def reports_in(folder: Path) -> dict[str, Report]:
    """Read the reports in a folder, in the order of the catalogue. Raises InputError for a bad one."""
    return {name: read(folder / name) for name in NAMES if (folder / name / JSON).exists()}


def write_index(folder: Path) -> int:
    """Write the index page. Returns how many reports are whole: n, seeds, interval and answer."""
    found = reports_in(folder)
    whole = sum(map(is_whole, found.values()))
    missing = [name for name in NAMES if name not in found]
    parts = [
        "# Open questions, answered",
        f"{whole} of {len(NAMES)} questions have a report here."
        + (f" Missing: {', '.join(missing)}." if missing else ""),
        *(_section(report, folder / name, name) for name, report in found.items()),
    ]
    (folder / INDEX).write_text("\n\n".join(parts) + "\n")
    return whole


def _section(report: Report, folder: Path, name: str) -> str:
    pictures = [f"![{path.stem}]({name}/{path.name})" for path in sorted(folder.glob("*.png"))]
    lines = [
        f"## [{report.question}]({name}/{MARKDOWN})",
        f"**{name}.** {report.answer}",
        figure_line(report),
        *pictures,
    ]
    return "\n\n".join(lines)
