"""Starting a server with live weights: the command, readiness, the proof, and refusals that a user can
read.
"""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from learner.live.client import LiveWeights
from learner.live.manifest import Manifest
from learner.serving import prove_live, served_name, server_command, wait_until_ready
from policies.config import ServerConfig
from policies.errors import GuardRefused, Unreachable


def test_the_module_loads_without_torch_and_vllm() -> None:
    code = "import sys, learner.serving; print({'torch', 'vllm', 'transformers'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_the_command_names_the_arena_and_keeps_stale_caches_out(tmp_path: Path) -> None:
    config = ServerConfig(model="smollm2", extra_args=("--seed", "3"))
    places = (tmp_path / "m", tmp_path / "arena", tmp_path / "versions")
    argv, env = server_command(config, *places, 1234, tmp_path / "answers")
    extra = json.loads(argv[argv.index("--model-loader-extra-config") + 1])
    told = {"arena": str(tmp_path / "arena"), "versions": str(tmp_path / "versions")}
    told |= {"answers": str(tmp_path / "answers")}
    assert extra == told | {"prefix_cache": "bounded", "prefix_cache_steps": 4}
    assert argv[argv.index("--load-format") + 1] == "live"
    assert argv[argv.index("--scheduler-cls") + 1].startswith("learner.live.scheduler.")
    assert argv[argv.index("--middleware") + 1].startswith("learner.live.middleware.")
    assert {"--enable-prefix-caching", "--enforce-eager"} < set(argv)
    without, _ = server_command(config.model_copy(update={"prefix_cache": "none"}), *places, 1234)
    assert "--no-enable-prefix-caching" in without
    assert argv[-2:] == ["--seed", "3"]
    assert (env["VLLM_USE_AOT_COMPILE"], env["VLLM_ENABLE_V1_MULTIPROCESSING"]) == ("0", "0")
    assert (env["PYTHONSAFEPATH"], env["OMP_NUM_THREADS"]) == ("1", "1")
    assert "PATH" in env
    assert served_name(config) == "smollm2"
    assert served_name(ServerConfig(model="/some/where/tiny")) == "tiny"
    assert served_name(ServerConfig(model="org/name")) == "org/name"


@pytest.mark.parametrize("fixture", ["smollm2_server", "qwen35_server"])
def test_the_proof_passes_and_leaves_the_weights_as_they_were(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    server = request.getfixturevalue(fixture)
    live = LiveWeights.attach(server.arena, exclusive=False)
    before, position = live.fingerprint(), live.position()
    prove_live(server.url, server.name, server.arena)
    after = live.position()
    assert live.fingerprint() == before
    assert (after.version, after.step) == (position.version, position.step)
    assert after.epoch > position.epoch
    assert sorted(path.name for path in server.arena.iterdir()) == ["owner.lock", "rank0.bin", "rank0.json"]


def test_a_server_that_computes_with_other_weights_is_refused(
    smollm2_server: Any, arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path
) -> None:
    arena_of(owner.process.pid)
    with pytest.raises(GuardRefused, match="does not compute with the weights"):
        prove_live(smollm2_server.url, smollm2_server.name, tmp_path / "arena")
    with pytest.raises(GuardRefused, match="refused a probe"):
        prove_live(smollm2_server.url, "nobody", smollm2_server.arena)


@pytest.fixture
def not_ready() -> Iterator[str]:
    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_waiting_ends_with_the_server_or_the_time(not_ready: str) -> None:
    with pytest.raises(Unreachable, match="not ready after"):
        wait_until_ready(not_ready, 0.5, lambda: True)
    deadline = time.monotonic() + 60
    with pytest.raises(Unreachable, match="ended while starting"):
        wait_until_ready(not_ready, 1e6, lambda: time.monotonic() < deadline - 59.5)


def test_a_damaged_version_is_not_served_but_said_and_its_parent_is(
    tiny_qwen35_path: Path, tmp_path: Path, serve: Any
) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "v.version").write_bytes(b"damaged")
    parent = {"version": "01P", "step": 3, "file": None}
    pointer = {"version": "01V", "step": 5, "file": "v.version", "sha256": "5a", "ancestors": [parent]}
    (versions / "live.json").write_text(json.dumps(pointer))
    with serve(tiny_qwen35_path, tmp_path, versions) as server:
        live = LiveWeights.attach(server.arena, exclusive=False)
        assert (live.position().version, live.position().step) == ("01P", 3)
        live.close()
        said = server.log.read_text()
    assert "version 01V cannot be applied: version file v.version is damaged" in said
