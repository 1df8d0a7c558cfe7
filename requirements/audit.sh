#!/usr/bin/env bash
# Look for known vulnerabilities in what requirements/cpu.lock pins, and for what is installed otherwise than pinned.
# The first part works offline. The second needs pip-audit (`pipx install pip-audit`) and the network: it asks the
# vulnerability service of its choice (ARGS="-s osv"). Without either it says so and ends with 69: not audited is
# not the same as nothing found.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
shift || true

echo "installed against requirements/cpu.lock:" >&2
"$python" - <<'PYTHON'
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", Path("requirements/cpu.lock").read_text(), re.M)
pinned = {plain(name): version for name, version in pins}
installed = {plain(found.metadata["Name"]): found.version for found in distributions()}
wrong = [f"{n} {installed[n]}, pinned {v}" for n, v in sorted(pinned.items()) if n in installed and installed[n] != v]
for line in wrong:
    print(line)
print(f"{len(pinned)} pinned, {sum(n in installed for n in pinned)} of them installed, {len(wrong)} otherwise")
sys.exit(bool(wrong))
PYTHON

auditor=$(command -v "$(dirname "$python")/pip-audit" || command -v pip-audit || true)
if [ -z "$auditor" ]; then
    echo "error: not audited for vulnerabilities: pip-audit is not installed (pipx install pip-audit)" >&2
    exit 69
fi
"$auditor" --disable-pip --no-deps --requirement requirements/cpu.lock "$@"
