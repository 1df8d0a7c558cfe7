"""What an agent must not do, or must do first, checked on its tool calls."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from policies.constraints.calls import changed_paths, runs, shell_commands, within
from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.turn import ToolCall, Turn

_TEST_COMMAND = re.compile(
    r"\b(?:pytest|tox|nox|unittest|jest|vitest|mocha|rspec|phpunit|ctest|go test|cargo (?:nextest|test)|"
    r"(?:npm|yarn|pnpm|bun)(?: run)? test\w*|mvn (?:\S+ )*(?:test|verify)|gradlew? (?:\S+ )*(?:test|check)|"
    r"make (?:\S+ )*(?:test|check)\w*|dotnet test|mix test|swift test|runtests|run_tests?)\b"
)
_DONE = re.compile(
    r"\b(?:(?:it|this|that|everything|all|the (?:task|work|change|fix|feature|bug|implementation|"
    r"refactoring))(?:'s| is| are| has been| have been)? (?:now )?"
    r"(?:done|complete|completed|finished|fixed|implemented|ready|working)|all (?:done|set)|i(?:'ve|"
    r" have) (?:now |successfully |fully )*"
    r"(?:finished|completed|fixed|implemented|added|updated|refactored)|^done\b|task (?:is )?complete)",
    re.I | re.M,
)


class ToolConstraint(Constraint):
    """A demand on what the agent does. What it says is `check`ed by no one: the text cannot tell."""

    def check(self, text: str) -> bool | None:
        """Return None: this is about calls."""
        return None

    @abstractmethod
    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Say whether one tool call (or the answer) of a turn keeps the demand, after the turns before it.

        None where the action is of no kind that the demand is about.
        """


@dataclass(frozen=True)
class NeverRun(ToolConstraint):
    """No shell command begins with these words ("git push", "rm -rf"; options in any place)."""

    command: str
    kind: ClassVar[str] = "never_run"
    group: ClassVar[str] = ""
    prohibits: ClassVar[bool] = True

    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Look at every command of a shell call."""
        call = _call(turn, call_index)
        commands = list(shell_commands(call)) if call else []
        if not commands:
            return None
        return not any(runs(command, tuple(self.command.split())) for command in commands)


@dataclass(frozen=True)
class Untouched(ToolConstraint):
    """A file or folder is not written, moved or deleted."""

    path: str
    kind: ClassVar[str] = "untouched"
    group: ClassVar[str] = ""
    prohibits: ClassVar[bool] = True

    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Look at the paths that the call changes."""
        call = _call(turn, call_index)
        changed = list(changed_paths(call)) if call else []
        return not any(within(path, self.path) for path in changed) if changed else None


@dataclass(frozen=True)
class UntouchedBranch(ToolConstraint):
    """A branch is not pushed to, committed on after a switch to it in the same command, reset or deleted."""

    branch: str
    kind: ClassVar[str] = "untouched_branch"
    group: ClassVar[str] = ""
    prohibits: ClassVar[bool] = True
    confidence: ClassVar[float] = 0.93

    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Look at git pushes that name a branch."""
        call = _call(turn, call_index)
        pushes = [c for c in shell_commands(call) if runs(c, ("git", "push"))] if call else []
        named = [
            re.split(r":", word)[-1].lstrip("+") for c in pushes for word in c[2:] if not word.startswith("-")
        ]
        if len(named) < 2:  # remote and branch; a bare push goes where nobody can see
            return None
        return self.branch not in named[1:]


@dataclass(frozen=True)
class RunTestsFirst(ToolConstraint):
    """Before the agent says that it is done, the tests have run after its last change."""

    kind: ClassVar[str] = "tests_first"
    group: ClassVar[str] = "tests"
    confidence: ClassVar[float] = 0.92

    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Look back from an answer that claims to be done to the last change since the user spoke."""
        if turn.tool_calls or not _DONE.search(turn.content):
            return None
        for before in reversed(earlier):
            if before.role == "user":
                break
            for call in reversed(before.tool_calls):
                if any(_TEST_COMMAND.search(" ".join(command)) for command in shell_commands(call)):
                    return True
                if any(True for _ in changed_paths(call)):
                    return False
        return None


@dataclass(frozen=True)
class OneCall(ToolConstraint):
    """A turn makes at most one tool call."""

    kind: ClassVar[str] = "one_call"
    group: ClassVar[str] = "calls"

    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Count the calls of the turn; further ones are the offence, the first is none."""
        if not turn.tool_calls:
            return None
        return call_index == 0


@dataclass(frozen=True)
class OnlyTouched(ToolConstraint):
    """Nothing but one file or folder is written, moved or deleted."""

    path: str
    kind: ClassVar[str] = "only_touched"
    group: ClassVar[str] = ""

    def check_action(self, turn: Turn, call_index: int, earlier: Sequence[Turn]) -> bool | None:
        """Look at the paths that the call changes."""
        call = _call(turn, call_index)
        changed = list(changed_paths(call)) if call else []
        return all(within(path, self.path) for path in changed) if changed else None


def check_action(
    constraint: Constraint, turn: Turn, call_index: int = 0, earlier: Sequence[Turn] = ()
) -> bool | None:
    """Say whether an action keeps a constraint: demands on the answer see its text, those on calls its calls.

    None where it cannot be told, and for what is said beside a tool call: that is no answer yet.
    """
    if isinstance(constraint, ToolConstraint):
        return constraint.check_action(turn, call_index, earlier)
    return None if turn.tool_calls or not turn.content.strip() else constraint.check(turn.content)


def _call(turn: Turn, call_index: int) -> ToolCall | None:
    return turn.tool_calls[call_index] if call_index < len(turn.tool_calls) else None


_NEVER = (
    r"(?:do not|don't|never|must not|mustn't|should not|shouldn't|cannot|can't|may not|avoid|without|stop|"
    r"refrain from)(?: ever| please)?"
)
_COMMAND = r'(?:the )?(?:command |commands )?"#(?P<n>\d+)"'
_KNOWN_COMMAND = (
    r"(?P<bare>git (?:push|commit|rebase|reset|stash|merge|checkout|clean|add)(?: --?[\w-]+)*|"
    r"rm(?: -[rf]+)?|sudo|npm (?:install|publish|run \w+)|pip install|docker \w+)"
)
_RUN = r"(?:run|running|execute|executing|use|using|call|calling|invoke|invoking)"
_TOUCH = (
    r"(?:touch|touching|edit|editing|modify|modifying|change|changing|delete|deleting|remove|removing|"
    r"write to|writing to|overwrite|overwriting|alter|altering|rename|move)"
)
_PATH = (
    r"(?:the |any |my |our |anything in |files? in |(?:any )?files? under |anything under )*(?:file |files |"
    r"folder |directory )?"
    r"(?:\"#(?P<n>\d+)\"|(?P<path>[\w.-]*/[\w./-]*\w/?|[\w-]*\.(?:py|js|ts|tsx|jsx|json|toml|ya?ml|lock|md|"
    r"txt|cfg|ini|env|go|rs|java|c|cpp|h|sh|sql|"
    r"html|css|xml|gradle|ipynb)\b|\.env\b|dockerfile\b|makefile\b))"
)
_PATHLIKE = re.compile(r"[\w./~-]*[/.][\w./~-]+|Makefile|Dockerfile|\w+/")
_A_PROGRAM = re.compile(
    r"(?:git|npm|npx|yarn|pnpm|pip3?|rm|sudo|docker|make|cargo|python3?|curl|wget|chmod|kubectl|terraform)\b"
)
_COMMANDLIKE = re.compile(r"[a-z][\w./-]*(?: [\w./=@:-]+){0,5}")


def _never_run(match: re.Match[str], sentence: Masked) -> Constraint | None:
    groups = match.groupdict()
    command = sentence.quoted(groups["n"]) if groups.get("n") else sentence.as_written(*match.span("bare"))
    if not _COMMANDLIKE.fullmatch(command.strip()):
        return None
    by_use = re.search(r"\b(?:use|using|call|calling)\b", match.group()) is not None
    if by_use and not (_A_PROGRAM.match(command) or " -" in command):  # "don't use 'cat'" may be about a word
        return None
    return NeverRun(" ".join(command.split()))


def _untouched(match: re.Match[str], sentence: Masked) -> Constraint | None:
    path = sentence.quoted(match.group("n")) if match.group("n") else sentence.as_written(*match.span("path"))
    return Untouched(path.strip()) if _PATHLIKE.fullmatch(path.strip()) else None


def _branch(match: re.Match[str], sentence: Masked) -> Constraint:
    name = (
        sentence.quoted(match.group("n")) if match.group("n") else sentence.as_written(*match.span("branch"))
    )
    return UntouchedBranch(name)


def _only_touched(match: re.Match[str], sentence: Masked) -> Constraint | None:
    path = sentence.quoted(match.group("n")) if match.group("n") else sentence.as_written(*match.span("path"))
    return OnlyTouched(path.strip()) if _PATHLIKE.fullmatch(path.strip()) else None


_ONE_CALL = (
    r"\b(?:only|exactly|at most|no more than|always|just)\b[^.;,]{0,30}?\b(?:one|a single|single|"
    r"1) (?:\w+ ){0,2}?(?:(?:tool|function)[ -]?calls?\b|command\b(?= in the command))|"
    r"\b(?:do not|don't|never) (?:make|call|use|issue|run) (?:more than one|multiple|several|two) (?:tool|"
    r"function)s?\b"
)
_BRANCH = r'(?:the )?(?:"#(?P<n>\d+)"|(?P<branch>main|master|develop|production|release|trunk))(?: branch)?\b'
_TESTS_FIRST = (
    r"\b(?:always )?run (?:all |the |all the |our |your |unit |full |whole |relevant )*(?:tests?|"
    r"test[- ]suite)s?(?: suite)?\b[^.;]{0,40}\bbefore\b (?:you )?"
    r"(?:say|saying|claim|claiming|report|reporting|finish|finishing|declar\w+|mark\w*|tell\w*|call\w*|"
    r"end\w*|complet\w+|hand\w*|consider\w*)\b"
    r"|\b(?:do not|don't|never) (?:say|claim|report|declare|tell me)\b[^.;]{0,40}\b(?:done|finished|"
    r"complete|fixed|works?|ready)\b[^.;]{0,30}\b(?:before|until|unless|without)\b[^.;]{0,30}\btests?\b"
)

READERS = (
    pattern_reader(
        "run execut git rm sudo npm pip docker",
        (
            (
                rf"\b{_NEVER} {_RUN} {_COMMAND}(?! (?:on|in|with|to|against|for|unless|without|before|from))",
                _never_run,
            ),
            (
                rf"\b{_NEVER} {_RUN} {_KNOWN_COMMAND}(?= ?(?:[.,;!]|$|anymore|again|yourself|ever))",
                _never_run,
            ),
            (
                rf"\b{_NEVER} (?P<bare>git (?:push|commit|rebase|stash)(?: --?[\w-]+)*)(?= ?(?:[.,;!]|$|"
                rf"anymore|again|yourself|ever))",
                _never_run,
            ),
        ),
    ),
    pattern_reader(
        "push commit", ((rf"\b{_NEVER} push(?:ing)?(?: \w+){{0,2}}? (?:to|on) {_BRANCH}", _branch),)
    ),
    pattern_reader(
        "touch edit modif chang delet remov writ alter renam move",
        (
            (
                rf"\b{_NEVER} (?:push to or )?touch(?:ing)? (?:the )?(?P<branch>main|"
                rf"master)(?: branch)?(?= ?(?:[.,;!]|$))",
                lambda m, s: UntouchedBranch(m.group("branch")),
            ),
            (
                rf"\b{_NEVER} {_TOUCH} {_PATH}(?= ?(?:[.,;!]|$|or\b|and\b|at all|under any|directly|"
                rf"yourself))",
                _untouched,
            ),
        ),
    ),
    pattern_reader(
        "only",
        (
            (
                rf"\bonly (?:be )?{_TOUCH} {_PATH}(?: file)?(?= ?(?:[.,;!]|$|and nothing else))",
                _only_touched,
            ),
        ),
    ),
    pattern_reader("call command", ((_ONE_CALL, lambda match, sentence: OneCall()),)),
    pattern_reader("test", ((_TESTS_FIRST, lambda match, sentence: RunTestsFirst()),)),
)
