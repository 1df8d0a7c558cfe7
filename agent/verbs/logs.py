"""`run.py ingest` and `run.py label`: logs of agents, read from files."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.ingest import Ingest
from agent.labelling_rows import label_line
from agent.language import detect_language
from agent.reading import read_file, summarise
from agent.verbs.output import print_json, print_table
from policies.config import Config
from policies.errors import ConfigError, InputError
from store.clock import now_ms
from store.database import open_store
from store.home import home_of


def show_ingest(config: Config, files: list[Path], *, dry_run: bool, json: bool) -> None:
    """Read logs and print what is in them; store it unless `dry_run`. Bad records are named on stderr."""
    for path in files:
        if not path.is_file():
            raise ConfigError(f"no file at {path}")
    store = None if dry_run else open_store(home_of(config))
    readings = []
    for path in files:
        reading = read_file(path, now_ms())
        readings.append(reading)
        for record in reading.rejected[:20]:
            sys.stderr.write(f"{path}: {record.place}: {record.reason}\n")
        if len(reading.rejected) > 20:
            sys.stderr.write(f"{path}: and {len(reading.rejected) - 20} more\n")
        if store is not None:
            ingest = Ingest(store, config, detect_language)
            ingest.keep(config.bus.agent, reading.turns, reading.rejected, f"cli:{path}")
    found = summarise(readings, detect_language).model_dump()
    if found["turns"] and not found["decision_points"]:
        sys.stderr.write("ALERT: turns, but not one decision point: nothing can be learned from this\n")
    if json:
        print_json(found)
    else:
        labels = found.pop("labels")
        rows = [*found.items(), *((f"labels: {verdict}", count) for verdict, count in labels.items())]
        print_table("ingested" if not dry_run else "read (nothing stored)", ("what", "count"), rows)


def show_labels(file: Path) -> None:
    """Label each line of a file or of stdin. Bad lines are named on stderr; then it ends with an error."""
    if str(file) != "-" and not file.is_file():
        raise ConfigError(f"no file at {file}")
    source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    bad = 0
    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        labelled, rejected = label_line(line, f"line {number}", now_ms(), detect_language)
        for record in rejected:
            sys.stderr.write(f"{file}: {record.place}: {record.reason}\n")
        bad += len(rejected)
        for row in labelled:
            print_json(row)
    if bad:
        raise InputError(f"{bad} record(s) of {file} could not be read; the others were labelled")
