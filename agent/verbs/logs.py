"""`run.py ingest` and `run.py label`: logs of agents, read from files."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from agent.bench import open_bench
from agent.ingest import Ingest
from agent.labelling_rows import label_line
from agent.language import detect_language
from agent.reading import FileReading, read_file, shared_sessions, summarise
from policies.config import Config
from policies.errors import ConfigError, InputError
from store.clock import now_ms
from store.database import open_store
from store.home import home_of
from store.printing import print_json, print_table
from store.progress import Progressing

_TOLD = 20
"""Records of a file, or reasons, that are named; the rest is counted."""


def show_ingest(config: Config, files: list[Path], *, dry_run: bool, json: bool) -> None:
    """Read logs and print what is in them; store it unless `dry_run`. Bad records are named on stderr."""
    for path in files:
        if not path.is_file():
            raise ConfigError(f"no file at {path}")
    store = None if dry_run else open_store(home_of(config))
    readings = []
    with Progressing("ingest", len(files)) as progress:
        for path in files:
            progress.at(f"reading {path.name}")
            reading = read_file(path, now_ms())
            readings.append(reading)
            _tell(reading)
            if store is not None:
                progress.at(f"labelling {path.name}")
                ingest = Ingest(store, config, detect_language)
                ingest.keep(config.bus.agent, reading.turns, reading.rejected, f"cli:{path}")
            progress.advance()
    for remark in shared_sessions(readings):
        sys.stderr.write(f"{remark.place}: {remark.kind}; kept as one conversation\n")
    found = summarise(readings, detect_language).model_dump()
    if json:
        print_json(found)
        return
    counts = {name: value for name, value in found.items() if not isinstance(value, dict)}
    details = {name: value for name, value in found.items() if isinstance(value, dict)}
    rows = [*counts.items(), *((f"{name}: {k}", n) for name, of in details.items() for k, n in of.items())]
    print_table("ingested" if not dry_run else "read (nothing stored)", ("what", "count"), rows)


def _tell(reading: FileReading) -> None:
    """Say on stderr what of a file could not be read, what was odd, and where nothing can be learned."""
    path = reading.path
    for record in reading.rejected[:_TOLD]:
        sys.stderr.write(f"{path}: {record.place}: {record.reason}\n")
    rest = Counter(record.reason for record in reading.rejected[_TOLD:])
    for reason, count in rest.most_common(_TOLD):
        sys.stderr.write(f"{path}: and {count} more: {reason}\n")
    if len(rest) > _TOLD:
        sys.stderr.write(
            f"{path}: and {sum(n for _, n in rest.most_common()[_TOLD:])} more of other reasons\n"
        )
    first = {remark.kind: remark.place for remark in reversed(reading.parsed.remarks)}
    for kind, count in Counter(remark.kind for remark in reading.parsed.remarks).most_common():
        sys.stderr.write(f"{path}: {count} x {kind} (first at {first[kind]}); kept\n")
    if reading.size and not reading.has_decisions:
        sys.stderr.write(f"ALERT: {path}: not one decision point: nothing can be learned from this file\n")


def show_labels(config: Config, file: Path) -> None:
    """Label each line of a file or of stdin. Bad lines are named on stderr; then it ends with an error.

    Sentence vectors and a judge take part where they are configured; so do calibrations in the store.
    """
    if str(file) != "-" and not file.is_file():
        raise ConfigError(f"no file at {file}")
    source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    bad = 0
    with open_bench(config) as bench, Progressing("rows labelled") as progress:
        for number, line in enumerate(source, start=1):
            progress.advance()
            if not line.strip():
                continue
            labelled, rejected = label_line(line, f"line {number}", now_ms(), detect_language, bench)
            for record in rejected:
                sys.stderr.write(f"{file}: {record.place}: {record.reason}\n")
            bad += len(rejected)
            for row in labelled:
                print_json(row)
    if bad:
        raise InputError(f"{bad} record(s) of {file} could not be read; the others were labelled")
