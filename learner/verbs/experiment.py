"""`run.py experiment ...`: open questions, answered on your own model by one command each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from learner.verbs.printing import say, show
from store.home import home_of
from store.printing import print_json
from store.settings import load_config

commands = typer.Typer(
    no_args_is_help=True,
    help="Open questions, answered on your own model: each ends in a folder with text, pictures and JSON.",
    epilog="Nothing live is touched: an experiment trains copies. `--quick` takes five minutes at most.",
)

Model = Annotated[str | None, typer.Option(help="`smollm2`, a folder, a name; absent: the configured one")]
Seeds = Annotated[int, typer.Option(help="how many seeds; 0 is first")]
Quick = Annotated[bool, typer.Option("--quick", help="fewer items and seeds; the report says so")]
Out = Annotated[Path, typer.Option(help="the report becomes a folder in here")]
_REPORTS = Path("reports")
Json = Annotated[bool, typer.Option("--json", help="print JSON as the last line")]
_SUMMARIES = {
    "examples": "How many examples until behaviour measurably changes?",
    "gdn-state": "Does the recurrent state of GDN layers become direction-shaped?",
    "steering": "How well does a steering vector carry simple features and complex behaviours?",
    "lr": "Which learning rate gains most for what it leaks and forgets?",
    "transfer": "Does learning to heed change what was not trained?",
    "mechanisms": "What changes inside, and which parts of the recipe matter?",
}


def _run(name: str, model: str | None, seeds: int, quick: bool, out: Path) -> dict[str, Any]:
    """Run one experiment and write its report. Returns what is told of it."""
    import torch

    from learner.experiments.catalogue import experiment
    from learner.experiments.report import write
    from learner.experiments.setting import Setting

    torch.set_num_threads(1)
    config = load_config()
    home = home_of(config)
    found = experiment(name)
    setting = Setting(
        model=model or config.server.model,
        seeds=tuple(range(1 if quick else seeds)),
        quick=quick,
        config=config,
        home=home,
        cache=home / "experiments",
    )
    say(f"{name}: {found.QUESTION}")
    report = found.run(setting)
    write(report, found.PICTURES, out / name)
    told = ("answer", "measured", "value", "interval", "n", "seeds", "toy", "quick", "seconds")
    return {"experiment": name, "folder": str(out / name)} | {part: getattr(report, part) for part in told}


def _command(name: str) -> Callable[..., None]:
    def command(
        model: Model = None,
        seeds: Seeds = 2,
        quick: Quick = False,
        out: Out = _REPORTS,
        json: Json = False,
    ) -> None:
        show(name, _run(name, model, seeds, quick, out), json=json)

    command.__doc__ = _SUMMARIES[name]
    return command


for _name in _SUMMARIES:
    commands.command(_name)(_command(_name))


@commands.command("all")
def run_all(
    model: Model = None,
    seeds: Seeds = 2,
    quick: Quick = False,
    out: Out = _REPORTS,
    json: Json = False,
) -> None:
    """Run all six, one after the other; one that fails is named, and the others go on."""
    from learner.experiments.catalogue import NAMES
    from policies.errors import HeedloopError

    done: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for name in NAMES:
        try:
            done.append(_run(name, model, seeds, quick, out))
        except HeedloopError as error:
            failed[name] = str(error)
            say(f"{name} failed: {error}")
    whole = [d for d in done if d["n"] and d["seeds"] and d["interval"] and d["answer"]]
    found = {"reports": len(whole), "answers": {d["experiment"]: d["answer"] for d in done}, "failed": failed}
    if json:
        print_json(found)
    else:
        show("experiments", found, json=False)
    if failed:
        raise typer.Exit(1)


@commands.command("redraw")
def redraw(folder: Annotated[Path, typer.Argument(help="of a report")]) -> None:
    """Draw the pictures of a report again, from its JSON alone."""
    from learner.experiments.catalogue import experiment
    from learner.experiments.report import drawn, read

    report = read(folder)
    drawn(report, experiment(report.name).PICTURES, folder)
    say(f"{len(experiment(report.name).PICTURES)} pictures in {folder}")
