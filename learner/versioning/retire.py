"""Deletes the files that no kept version needs."""

from __future__ import annotations

from dataclasses import dataclass

from learner.archive import Archive
from policies.config import GuardConfig
from policies.retention import kept
from store import branches, evidence, versions
from store.database import Store
from store.versions import Version


@dataclass(frozen=True)
class Retired:
    """What went: versions whose weights, and files of trainers' states, were deleted; bytes that it freed."""

    versions: list[str]
    trainers: list[str]
    freed: int


def retire(store: Store, archive: Archive, rules: GuardConfig, *, dry_run: bool = False) -> Retired:
    """Keep what the rules, a tag, a branch, the version in force, or evidence against it need.

    Rows stay, files of the others go.

    A version may share its files with others (a rollback does): they go with the last that needs them.
    """
    every = versions.every(store)
    good = [v for v in every if v.state == "good" and v.file is not None]
    needed = _needed(store, every, good, rules)
    going = [v for v in good if v.file not in needed]
    trainers = _trainers_going(every, going, rules)
    freed = {v.file: v.bytes or 0 for v in going}
    freed |= {v.trainer: v.trainer_bytes or 0 for v in every if v.trainer in trainers}
    if not dry_run:
        with store.write() as connection:
            for version in going:
                versions.retire(connection, version.id)
            for trainer in trainers:
                versions.forget_trainer(connection, trainer)
        for name in freed:
            archive.remove(str(name))
    return Retired([v.id for v in going], sorted(trainers), sum(freed.values()))


def _needed(store: Store, every: list[Version], good: list[Version], rules: GuardConfig) -> set[str | None]:
    """Return the files of weights that stay."""
    if not every:
        return set()
    named = versions.tags(store).keys() | {branch.version_id for branch in branches.every_branch(store)}
    named |= evidence.leads_to(store, every[-1].id)
    chosen = kept([(v.id, v.created) for v in good], rules)
    return {v.file for v in good if v.id in chosen or v.id in named} | {every[-1].file}


def _trainers_going(every: list[Version], going: list[Version], rules: GuardConfig) -> set[str]:
    """Return the states that go: all but those of the newest versions, and of weights that go."""
    newest = dict.fromkeys(v.trainer for v in reversed(every) if v.trainer is not None)
    staying = set(list(newest)[: rules.keep_trainer_states]) | {every[-1].trainer if every else None}
    gone = {v.id for v in going}
    return {v.trainer for v in every if v.trainer is not None and (v.trainer not in staying or v.id in gone)}
