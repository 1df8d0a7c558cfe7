"""`run.py experiment ...`: open questions, answered on your own model by one command each."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from learner.verbs.hybrid import make_hybrid
from learner.verbs.printing import say, show
from policies.errors import ConfigError, HeedloopError, InputError
from store.home import home_of
from store.printing import print_json
from store.settings import load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from learner.experiments.report import Report

commands = typer.Typer(
    no_args_is_help=True,
    help="Open questions, answered on your own model: each ends in a folder with text, pictures and JSON.",
    epilog="An experiment trains copies: nothing live is touched. `--quick` is meant for about five minutes.",
)

Model = Annotated[str | None, typer.Option(help="`smollm2`, a folder, a name; absent: the configured one")]
Seeds = Annotated[int | None, typer.Option(help="how many seeds, 0 is the first; absent: 2, quick 1")]
Quick = Annotated[bool, typer.Option("--quick", help="fewer items, one seed unless told; the report says so")]
Out = Annotated[Path, typer.Option(help="the report becomes a folder in here")]
Json = Annotated[bool, typer.Option("--json", help="print JSON as the last line")]
Stored = Annotated[bool, typer.Option("--stored", help="teach your own corrections, by direction")]
Write = Annotated[bool, typer.Option("--write", help="set the recommended rate in the configuration file")]
_REPORTS = Path("reports")
_LEARNING_RATE = "training.learning_rate"
_SEEDS, _QUICK_SEEDS = 2, 1
_TOLD = ("answer", "measured", "value", "interval", "n", "seeds", "toy", "quick", "seconds")


def _run(
    name: str, model: str | None, seeds: int | None, quick: bool, out: Path, stored: bool = False
) -> Report:
    """Run one experiment, and write its report and the index. Raises ConfigError before anything long."""
    _check(seeds, out, [name])
    import torch
    from transformers.utils import logging as transformers_logging

    from learner.experiments.catalogue import experiment
    from learner.experiments.index import write_index
    from learner.experiments.report import write
    from learner.experiments.setting import Setting

    torch.set_num_threads(1)  # with more, two runs with one seed need not agree to the last bit
    transformers_logging.disable_progress_bar()
    config = load_config()
    home = home_of(config)
    found = experiment(name)
    setting = Setting(
        model=model or config.server.model,
        seeds=tuple(range(seeds or (_QUICK_SEEDS if quick else _SEEDS))),
        quick=quick,
        config=config,
        home=home,
        cache=home / "experiments",
        stored=stored,
    )
    say(f"{name}: {found.QUESTION}")
    say(f"model {setting.folder}")
    report = found.run(setting)
    write(report, found.PICTURES, out / name)
    write_index(out)
    return report


def _check(seeds: int | None, out: Path, names: Sequence[str]) -> None:
    """Refuse what could only fail after all the work is done: what is written is `names`, and the index."""
    if seeds is not None and seeds < 1:
        raise ConfigError(f"--seeds {seeds}: an experiment needs one seed at least")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: no folder can be made there ({error.strerror})") from None
    for folder in (out, *(out / name for name in names)):
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise ConfigError(f"--out {out}: {folder} is no folder that can be written; give another one")
    from learner.experiments.index import reports_in

    try:
        reports_in(out)
    except InputError as error:
        raise ConfigError(f"--out {out}: {error}; remove it, or give another folder") from None


def _told(report: Report, out: Path) -> dict[str, Any]:
    about = {"experiment": report.name, "folder": str(out / report.name)}
    return about | {part: getattr(report, part) for part in _TOLD}


@commands.command("examples")
def examples(
    model: Model = None,
    seeds: Seeds = None,
    quick: Quick = False,
    stored: Stored = False,
    out: Out = _REPORTS,
    json: Json = False,
) -> None:
    """How many examples until behaviour measurably changes?"""
    report = _run("examples", model, seeds, quick, out, stored)
    show("examples", _told(report, out), json=json)


@commands.command("lr")
def learning_rate(
    model: Model = None,
    seeds: Seeds = None,
    quick: Quick = False,
    write: Write = False,
    out: Out = _REPORTS,
    json: Json = False,
) -> None:
    """Which learning rate gains most for what it leaks and forgets?"""
    if write:
        _place_of_rate()
    report = _run("lr", model, seeds, quick, out)
    found = _told(report, out) | {"recommended": report.data["recommended"]}
    if write:
        found["written"] = str(_set_rate(report.data["recommended"], out))
    show("lr", found, json=json)


def _place_of_rate() -> None:
    """Refuse to begin where the rate could not be written in the end."""
    from store.settings_edit import place_of

    say(f"{_LEARNING_RATE} will be set in {place_of(_LEARNING_RATE)}")


def _set_rate(rate: float | None, out: Path) -> Path:
    from store.settings_edit import set_number

    if rate is None:
        raise ConfigError(f"no rate is recommended, so none was written: {out / 'lr' / 'report.md'} says why")
    path = set_number(_LEARNING_RATE, rate)
    say(f"{_LEARNING_RATE} = {rate:g} in {path}: it counts from the next start of `up`")
    return path


def _command(name: str) -> Callable[..., None]:
    def command(
        model: Model = None,
        seeds: Seeds = None,
        quick: Quick = False,
        out: Out = _REPORTS,
        json: Json = False,
    ) -> None:
        show(name, _told(_run(name, model, seeds, quick, out), out), json=json)

    return command


for _name, _summary in {
    "gdn-state": "Does the recurrent state of GDN layers become direction-shaped?",
    "steering": "How well does a steering vector carry simple features and complex behaviours?",
    "transfer": "Does learning to heed change what was not trained?",
    "mechanisms": "What changes inside, and which parts of the recipe matter?",
}.items():
    commands.command(_name, help=_summary)(_command(_name))


@commands.command("all")
def run_all(
    model: Model = None,
    seeds: Seeds = None,
    quick: Quick = False,
    out: Out = _REPORTS,
    json: Json = False,
) -> None:
    """Run all six, one after the other; one that fails is named, and the others go on."""
    from learner.experiments.catalogue import NAMES
    from learner.experiments.progress import Progress
    from learner.experiments.report import is_whole

    _check(seeds, out, NAMES)
    done: dict[str, Report] = {}
    failed: dict[str, str] = {}
    progress = Progress(say, len(NAMES))
    for number, name in enumerate(NAMES, 1):
        try:
            done[name] = _run(name, model, seeds, quick, out)
        except Exception as error:  # hours of other work must not be lost with one experiment
            if not isinstance(error, HeedloopError):
                say(traceback.format_exc())
            failed[name] = str(error) or type(error).__name__
            say(f"{name} failed: {failed[name]}")
        progress.done(f"{number} of {len(NAMES)} experiments")
    answers = {name: report.answer for name, report in done.items()}
    found = {"reports": sum(map(is_whole, done.values())), "answers": answers, "failed": failed}
    found |= {"index": str(out / "index.md")}
    if json:
        print_json(found)
    else:
        show("experiments", found, json=False)
    if failed:
        raise typer.Exit(1)


commands.command("make-hybrid")(make_hybrid)


@commands.command("redraw")
def redraw(folder: Annotated[Path, typer.Argument(help="of a report")]) -> None:
    """Draw the pictures of a report again, from its JSON alone."""
    from learner.experiments.catalogue import experiment
    from learner.experiments.report import drawn, read

    report = read(folder)
    drawn(report, experiment(report.name).PICTURES, folder)
    say(f"{len(experiment(report.name).PICTURES)} pictures in {folder}")
