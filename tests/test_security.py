"""What holds for the whole: private files, no pickles, an audit that does not call silence a success."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from learner.model import load_model
from policies.errors import ConfigError

ROOT = Path(__file__).parent.parent
ROOMS = ("agent", "policies", "store", "learner", "run.py")
FORBIDDEN = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle",
}  # fmt: skip


def sources() -> Iterator[Path]:
    for room in ROOMS:
        path = ROOT / room
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def test_nothing_unpickles_or_evaluates() -> None:
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [(path.name, name) for name in names if name.split(".")[0] in FORBIDDEN]
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                unsafe = {"eval", "exec", "torch.load", "np.load", "numpy.load", "yaml.unsafe_load"}
                trusting = any(word.arg in ("trust_remote_code", "allow_pickle") for word in node.keywords)
                found += [(path.name, called)] if called in unsafe or trusting else []
    assert found == []


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_pickle_for_a_checkpoint_is_refused_unread(smollm2_path: Path, tmp_path: Path) -> None:
    for file in smollm2_path.glob("*.json"):
        shutil.copy(file, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "went-off")))
    with pytest.raises(ConfigError, match="never pickles"):
        load_model(tmp_path)
    assert not (tmp_path / "went-off").exists()


def test_nobody_else_can_read_what_a_run_leaves_behind(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "agent.jsonl"
    turn = {"event_id": "1", "conversation_id": "c", "role": "user", "content": "Answer in JSON."}
    log.write_text(json.dumps(turn) + "\n")
    environment = {**os.environ, "HEEDLOOP_HOME": str(home), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(ROOT / "run.py"), "ingest", str(log)]
    before = os.umask(0o022)  # as most machines have it
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True)
    finally:
        os.umask(before)
    assert (home / "redaction.key").exists()
    assert open_to_others(home) == []


def open_to_others(home: Path) -> list[str]:
    """Return what in a state folder others than its owner may read or enter."""
    return [str(path) for path in (home, *home.rglob("*")) if path.lstat().st_mode & 0o077]


def test_an_audit_that_cannot_be_done_is_not_a_success(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    script = ["bash", str(ROOT / "requirements" / "audit.sh"), sys.executable]
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    if (Path(sys.executable).parent / "pip-audit").exists():
        pytest.skip("pip-audit is installed here")
    assert (ended.returncode, "not audited" in ended.stderr) == (69, True)
    assert ended.stdout.splitlines()[-1].endswith(" 0 otherwise")


def test_make_has_the_audit() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make audit" in listed
    assert "make certs" in listed
