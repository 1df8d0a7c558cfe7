from __future__ import annotations

import json

import pytest

from policies.constraints import Constraint, check_action, read_constraints
from policies.constraints.calls import changed_paths, shell_commands
from policies.constraints.tools import (
    NeverRun,
    OneCall,
    OnlyTouched,
    RunTestsFirst,
    Untouched,
    UntouchedBranch,
)
from policies.labelling import Case, ConstraintLabeller
from policies.segmentation import segment
from policies.turn import Role, ToolCall, Turn

TESTS_FIRST = RunTestsFirst()


def turn(*calls: tuple[str, dict[str, object]], role: Role = "assistant", content: str = "") -> Turn:
    made = tuple(ToolCall(id=str(n), name=name, arguments=json.dumps(a)) for n, (name, a) in enumerate(calls))
    return Turn(event_id="e", conversation_id="c", role=role, content=content, tool_calls=made, ts=0)


def bash(command: str) -> tuple[str, dict[str, object]]:
    return "Bash", {"command": command}


def edit(path: str) -> tuple[str, dict[str, object]]:
    return "Edit", {"file_path": path, "old_string": "a", "new_string": "b"}


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("Never run `git push --force`.", NeverRun("git push --force")),
        ("don't run npm install again", NeverRun("npm install")),
        ("Don't git push.", NeverRun("git push")),
        ("Please don't touch src/config.py", Untouched("src/config.py")),
        ('Do not modify the file "package-lock.json".', Untouched("package-lock.json")),
        ("Never edit .env.", Untouched(".env")),
        ("Never push to main.", UntouchedBranch("main")),
        ("Never touch main.", UntouchedBranch("main")),
        ("You should **only** be editing the main.py file.", OnlyTouched("main.py")),
        ("Always include exactly _ONE_ tool call per response.", OneCall()),
        ("Run the tests before you say you are done.", TESTS_FIRST),
        ("Don't tell me it is done until the tests pass.", TESTS_FIRST),
    ],
)
def test_read(text: str, constraint: Constraint) -> None:
    assert read_constraints(text).constraints == (constraint,)


@pytest.mark.parametrize(
    "text",
    [
        "Run the tests.",
        "You may push to main.",
        "Why did you touch src/app.py?",
        "I never push to main.",
        "Don't commit unless I ask.",
        "Don't run `make` without `-j`.",
        'Don\'t change the word "red" to "blue".',
    ],
)
def test_in_doubt_nothing_is_read(text: str) -> None:
    assert read_constraints(text).constraints == ()


PUSH, RM = NeverRun("git push --force"), NeverRun("rm -rf")


@pytest.mark.parametrize(
    ("constraint", "call", "kept"),
    [
        (PUSH, bash("cd x && git push origin main --force"), False),
        (PUSH, bash("git push origin main"), True),
        (PUSH, bash("echo 'git push --force'"), True),
        (PUSH, bash("cat <<'EOF' > notes\ngit push --force\nEOF"), True),
        (PUSH, edit("a.py"), None),
        (RM, bash("sudo rm -r -f build"), False),
        (RM, bash("rm -fr build"), False),
        (RM, bash("rm build/x"), True),
        (NeverRun("npm install"), ("exec", {"cmd": ["npm", "install", "x"]}), False),
        (NeverRun("git push"), ("shell", {"command": ["bash", "-lc", "ls && git push"]}), False),
        (NeverRun("sudo"), bash("sudo ls"), False),
        (NeverRun("ls"), bash("sudo A=1 ls"), False),
        (Untouched("src/config.py"), edit("/repo/src/config.py"), False),
        (Untouched("src"), ("str_replace_editor", {"command": "view", "path": "src/a.py"}), None),
        (
            Untouched("src"),
            ("apply_patch", {"input": "*** Begin Patch\n*** Update File: src/a.py\n@@"}),
            False,
        ),
        (Untouched("src"), bash("cp src/a.py /other/place"), True),
        (Untouched("src"), bash("echo x >>src/a.py"), False),
        (Untouched("src"), bash("cat <<EOF > src/a.py\nx\nEOF"), False),
        (Untouched("src"), bash("ls src >/dev/null"), None),
        (Untouched("src/config.py"), edit("/repo/src/config.pyc"), True),
        (Untouched("src"), bash("echo x > src/new.py"), False),
        (Untouched("src"), bash("cat src/new.py"), None),
        (Untouched(".env"), bash("sed -i s/a/b/ .env"), False),
        (Untouched(".env"), ("Read", {"file_path": ".env"}), None),
        (OnlyTouched("main.py"), edit("main.py"), True),
        (OnlyTouched("main.py"), edit("other.py"), False),
        (UntouchedBranch("main"), bash("git push origin main"), False),
        (UntouchedBranch("main"), bash("git push origin HEAD:main"), False),
        (UntouchedBranch("main"), bash("git push origin work"), True),
        (UntouchedBranch("main"), bash("git push"), None),
        (UntouchedBranch("main"), bash("git push 'unclosed"), None),
    ],
)
def test_check_of_a_call(
    constraint: Constraint, call: tuple[str, dict[str, object]], kept: bool | None
) -> None:
    assert check_action(constraint, turn(call)) is kept
    assert constraint.check("said in words") is None


def test_only_the_further_call_is_one_too_many() -> None:
    twice = turn(bash("ls"), bash("pwd"))
    assert [check_action(OneCall(), twice, n) for n in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    ("earlier", "said", "kept"),
    [
        ((edit("a.py"), bash("pytest -q")), "All done.", True),
        ((bash("pytest -q"), edit("a.py")), "Everything is implemented.", False),
        ((edit("a.py"),), "I've fixed the bug.", False),
        ((bash("ls"),), "All done.", None),
        ((edit("a.py"),), "Shall I go on?", None),
    ],
)
def test_tests_before_done(
    earlier: tuple[tuple[str, dict[str, object]], ...], said: str, kept: bool | None
) -> None:
    assert check_action(TESTS_FIRST, turn(content=said), 0, [turn(call) for call in earlier]) is kept


def test_a_demand_on_the_answer_sees_answers_only() -> None:
    (brief,) = read_constraints("Answer in one line.").constraints
    assert check_action(brief, turn(content="one\ntwo")) is False
    assert check_action(brief, turn(bash("ls"), content="one\ntwo")) is None


def test_a_call_that_breaks_a_direction_is_labelled() -> None:
    asked = Turn(
        event_id="u", conversation_id="c", role="user", content="Never run `git push`. Fix it.", ts=0
    )
    tried = turn(bash("ls"), bash("git push"))
    votes = [vote for point in segment([asked, tried]) for vote in ConstraintLabeller().vote(Case(point))]
    assert [(vote.decision_id, vote.verdict) for vote in votes] == [("e#0", "followed"), ("e#1", "ignored")]


@pytest.mark.parametrize("arguments", ["", "[]", "{", '{"command": 3}', '{"command": "a \'"}', "[" * 9_000])
def test_odd_arguments_are_no_command(arguments: str) -> None:
    call = ToolCall(id="1", name="bash", arguments=arguments)
    assert not list(changed_paths(call))
    list(shell_commands(call))
