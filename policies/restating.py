"""Say a direction in other words, so that the rule is learned and not its sentence."""

from __future__ import annotations

import random
import re

from policies.constraints import Constraint, Detect, read_constraints

_STATEMENTS: dict[str, tuple[str, ...]] = {
    "json_object": (
        'Respond with a JSON object that has a single field called "{keys[0]}".',
        'Give me a JSON object with only one key, "{keys[0]}".',
        'Format the response as JSON with the key "{keys[0]}".',
        'Your whole response must be a JSON object with the single key "{keys[0]}".',
    ),
    "letter_case": (
        "Keep all letters lower case, please.",
        "No uppercase letters anywhere in your response.",
        "Everything you write has to be in lower case.",
        "Stay in lower case throughout.",
        "Only small letters, please.",
        "Write everything in capital letters.",
        "Only capital letters, please.",
        "Everything you write has to be in upper case.",
        "Stay in upper case throughout.",
    ),
    "ends_with": (
        'Conclude with "{phrase}"',
        'The response has to finish on "{phrase}"',
        'End on the words "{phrase}"',
        'Your answer should end with "{phrase}"',
    ),
    "starts_with": (
        'Open with "{phrase}"',
        'The response has to begin with "{phrase}"',
        'Start with the words "{phrase}"',
        'Your answer should start with "{phrase}"',
    ),
    "bullets": (
        'List {count} bullet points only, each with "- " in front.',
        'I want {count} bullets and nothing else, each on a line that starts with "- ".',
        "Use {count} bullet points and nothing else.",
        "Respond with only {count} bullet points.",
        "Respond in exactly {count} bullet points.",
        "Make it {count} bullet points.",
        "Use bullet points.",
        "Answer as a bulleted list.",
    ),
    "no_bullets": (
        "No bullet points.",
        "Do not use bullet points.",
        "Never use bullet points.",
        "Write it without bullet points.",
    ),
    "word_count": (
        "No longer than {maximum} words.",
        "Limit the response to {maximum} words.",
        "Maximum {maximum} words.",
        "The answer must not exceed {maximum} words.",
        "Say it in {maximum} words or fewer.",
        "Write at least {minimum} words.",
        "The answer needs at least {minimum} words.",
        "No fewer than {minimum} words.",
    ),
    "sentence_count": (
        "No more than {maximum} sentences.",
        "Limit the response to {maximum} sentences.",
        "Say it in {maximum} sentences or fewer.",
        "Write exactly {maximum} sentences.",
        "Make it exactly {maximum} sentences.",
        "Answer in one sentence.",
        "Reply with a single sentence.",
        "Keep it to one sentence.",
        "Write at least {minimum} sentences.",
    ),
    "forbidden_words": (
        'Avoid the word "{words[0]}".',
        'Never write the word "{words[0]}".',
        'The word "{words[0]}" must not appear in your answer.',
        'Leave out the word "{words[0]}".',
    ),
    "required_words": (
        'Mention the word "{words[0]}".',
        'The word "{words[0]}" must appear in your answer.',
        'Include the word "{words[0]}".',
        'Make sure to use the word "{words[0]}".',
    ),
    "quoted": (
        "Put your whole answer in double quotation marks.",
        "Wrap the entire response in double quotation marks.",
        "Put double quotation marks around your whole answer.",
    ),
    "no_emoji": ("No emojis.", "Never use emojis.", "Write it without emojis."),
    "no_markdown": ("No markdown.", "Do not use markdown.", "Write plain text without any markdown."),
}
"""By kind of constraint. A sentence counts for those constraints that are read out of it again."""
_ONE_OF_MANY = re.compile(r"\b1 (?:bullet )?\w+s\b")


def restated(direction: str, rng: random.Random, detect: Detect | None = None) -> str:
    """Return other words that are read as the one constraint of a direction; itself where there are none.

    What else it says, and no program can check, is left out.
    """
    demands = read_constraints(direction, detect).constraints
    found = statements(demands[0], detect) if len(demands) == 1 else []
    return rng.choice(found) if found else direction


def statements(constraint: Constraint, detect: Detect | None = None) -> list[str]:
    """Return the sentences that say exactly this constraint."""
    found = []
    for template in _STATEMENTS.get(constraint.kind, ()):
        try:
            said = template.format(**constraint.arguments)
        except IndexError:  # it names no word or key
            continue
        if not _ONE_OF_MANY.search(said) and read_constraints(said, detect).constraints == (constraint,):
            found.append(said)
    return found
