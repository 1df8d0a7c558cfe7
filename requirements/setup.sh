#!/usr/bin/env bash
# Make .venv with every pin of cpu.lock. Called by `make setup`; may be interrupted and run again at any time.
# In: PYTHON (may be empty), TORCH_CPU_INDEX. Why --no-deps throughout: requirements/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${TORCH_CPU_INDEX:?is set by make}"
torch="2.13.0+cpu"
lock=requirements/cpu.lock
python=.venv/bin/python
unfinished=.venv/.unfinished

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
say() { printf 'setup: %s\n' "$*" >&2; }
trap 'code=$?; [ $code -eq 0 ] || say "not finished; run the same command again to go on"' EXIT
trap 'exit 130' INT TERM

platform="$(uname -s)-$(uname -m)"
[ "$platform" = Linux-x86_64 ] || fail "the lock is for Linux on x86-64, this is $platform (docs/setup.md says what else works)"

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON is no Python >= 3.11 with the modules venv and ensurepip"
        echo "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if usable "$candidate"; then echo "$candidate"; return; fi
    done
    fail "no Python >= 3.11 with venv found (Debian: apt-get install python3.11-venv); or say PYTHON=/path/to/python"
}

mkdir -p .venv
exec 9>.venv/.lock
flock 9  # a second `make` waits for the first, then finds all done

pip_is_whole() { compgen -G '.venv/lib/python*/site-packages/pip-*.dist-info/RECORD' && "$python" -m pip --version; }
if ! pip_is_whole >/dev/null 2>&1; then
    chosen=$(choose_python)
    rm -rf .venv/bin .venv/lib .venv/lib64 .venv/include .venv/pyvenv.cfg  # what an interrupted one left
    "$chosen" -m venv .venv
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$version" = 3.11 ] || say "the lock was tried on Python 3.11; this is $version, where a pin may have no wheel (PYTHON=python3.11 is sure)"

install() { "$python" -m pip install --disable-pip-version-check --no-input -qq --no-deps --retries 1 --timeout 30 "$@"; }
installed() { "$python" - "$1" "$2" <<'PY' >/dev/null 2>&1
import importlib.metadata, sys
sys.exit(importlib.metadata.version(sys.argv[1]) != sys.argv[2])
PY
}

# pip writes INSTALLER and RECORD last: a package without them was cut off, and pip would take it for complete.
if [ -e $unfinished ]; then
    for info in .venv/lib/python*/site-packages/*.dist-info; do
        [ -e "$info/INSTALLER" ] && [ -e "$info/RECORD" ] || { say "redoing $(basename "$info" .dist-info)"; rm -rf "$info"; }
    done
fi
touch $unfinished

if ! installed torch "$torch"; then
    say "torch $torch (about 200 MB)"
    # First where pip is configured to look: the plain index of PyPI says at once that it has no such version.
    install "torch==$torch" 2>/dev/null || install "torch==$torch" --extra-index-url "$TORCH_CPU_INDEX" \
        || fail "torch $torch found neither where pip looks nor at $TORCH_CPU_INDEX"
fi
say "$(grep -c '==' $lock) pinned packages (about two minutes the first time)"
# The build backend first: one package (langdetect) has no wheel and is built, with exactly this setuptools.
grep -E '^(setuptools|wheel)==' $lock | install -r /dev/stdin || fail "setuptools could not be installed"
install --no-build-isolation -r $lock || fail "a pin of $lock could not be installed (the line above says which)"
install --no-build-isolation --config-settings editable_mode=compat -e . || fail "this package could not be installed"
rm -f $unfinished
say "ready"
