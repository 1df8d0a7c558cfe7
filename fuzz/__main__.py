"""Fuzz one target, guided by coverage: `python -m fuzz bus -- -runs=1000000` (`pip install atheris` first).

What stands behind `--` goes to libFuzzer. It stops at the first input that raises, and writes it to a file;
`python -m fuzz bus FILE` runs that one again, without atheris.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run; returns the exit code."""
    ours, _, theirs = " ".join(sys.argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=("bus", "log", "labels", "redaction", "url"))
    parser.add_argument("files", nargs="*", type=Path, help="inputs to run once")
    options = parser.parse_args(ours.split())
    if options.files:
        from fuzz.targets import TARGETS

        for file in options.files:
            TARGETS[options.target](file.read_bytes())
        return 0
    try:
        import atheris
    except ImportError:
        sys.stderr.write("atheris is not installed: pip install atheris (tests/test_fuzz.py runs without)\n")
        return 69
    with atheris.instrument_imports(include=["agent", "policies", "fuzz"]):
        from fuzz.targets import TARGETS, seeds
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *theirs.split()], TARGETS[options.target])
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
