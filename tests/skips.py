"""Count what was skipped and why, on the last line; with HEEDLOOP_REQUIRE set, a skip is a failure.

Loaded with `-p tests.skips`. HEEDLOOP_REQUIRE=mosquitto,chromium names programs that must be there; then
nothing may be skipped but what needs other hardware (marked `gpu` or `bf16`), so that CI cannot pass by
testing less.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping

import pytest

HARDWARE = {"gpu", "bf16"}  # marks of tests that no installation can make run


def pytest_configure(config: pytest.Config) -> None:
    required = [name for name in os.environ.get("HEEDLOOP_REQUIRE", "").split(",") if name.strip()]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])  # Debian keeps mosquitto there
    absent = [name for name in required if shutil.which(name.strip(), path=path) is None]
    if absent:
        raise pytest.UsageError(f"HEEDLOOP_REQUIRE names what is not installed: {', '.join(absent)}")
    config.pluginmanager.register(SkipAccount(strict=bool(required)), "skip account")


class SkipAccount:
    """The account of one run."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._forbidden: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._count_skip(report.nodeid, report.longrepr, report.keywords)
        elif report.failed:
            self._outcomes["failed"] += 1
        elif report.passed and report.when == "call":
            self._outcomes["passed"] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._count_skip(report.nodeid, report.longrepr, {})
        elif report.failed:
            self._outcomes["failed"] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._forbidden and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        skipped = sum(self._reasons.values())
        for nodeid in self._forbidden:
            print(f"skipped, but HEEDLOOP_REQUIRE forbids it: {nodeid}")
        why = "; ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
        passed, failed = self._outcomes["passed"], self._outcomes["failed"]
        line = f"heedloop: {passed} passed, {failed} failed, {skipped} skipped"
        print(f"{line} ({why})" if why else line)

    def _count_skip(self, nodeid: str, longrepr: object, keywords: Mapping[str, object]) -> None:
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        self._reasons[reason.removeprefix("Skipped: ")] += 1
        if self._strict and not HARDWARE & set(keywords):
            self._forbidden.append(nodeid)
