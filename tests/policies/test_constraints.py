from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.constraints import Constraint, broken, read_constraints, repair_all
from policies.constraints.bullets import Bullets, NoBullets
from policies.constraints.frequency import CapitalWords, LetterFrequency, WordFrequency
from policies.constraints.json_object import JsonObject, ValidJson
from policies.constraints.language import Language
from policies.constraints.length import CharacterCount, LineCount, ParagraphCount, SentenceCount, WordCount
from policies.constraints.letter_case import LetterCase
from policies.constraints.manners import NoApology, NoPreamble
from policies.constraints.markup import CodeOnly, Csv, NoCodeBlocks, NoHeadings, NoMarkdown, Table, Xml, Yaml
from policies.constraints.numbers import Decimals, NoDigits, NumberOnly
from policies.constraints.phrases import EndsWith, NotStart, Quoted, StartsWith
from policies.constraints.punctuation import EndsWithQuestion, NoCharacter, NoEmoji, NoQuestion
from policies.constraints.responses import OneOf, RepeatRequest, TwoResponses
from policies.constraints.sections import (
    DividedParagraphs,
    Highlights,
    ParagraphStart,
    Placeholders,
    Postscript,
    Sections,
    Title,
)
from policies.constraints.words import ForbiddenWords, RequiredWords


def detect(text: str) -> str | None:
    """Stand in for language detection with a rule that a test can see through."""
    return None if len(text) < 10 else "fr" if " le " in text else "en"


FRENCH, GERMAN = Language("fr", detect), Language("de", detect)

READ = [
    # the paraphrases of the trial, with unseen arguments
    ("Write your whole answer in lowercase letters only.", LetterCase(upper=False)),
    ("Use only lowercase letters, no capital letters at all.", LetterCase(upper=False)),
    ("Answer without any capital letters.", LetterCase(upper=False)),
    ("Please reply in all lowercase.", LetterCase(upper=False)),
    ('End your answer with exactly this phrase: "Take care now!"', EndsWith("Take care now!")),
    ('Finish your reply with the words "Over and out."', EndsWith("Over and out.")),
    ('The last words of your answer must be "See you soon!"', EndsWith("See you soon!")),
    ('Always close your answer with "Cheers, my friend!"', EndsWith("Cheers, my friend!")),
    ('Answer with exactly 3 bullet points, each starting with "- ".', Bullets(3, only=True)),
    ('Give exactly 4 bullet points and nothing else. Start each with "- ".', Bullets(4, only=True)),
    ('Your answer must be a list of 2 lines, each beginning with "- ".', Bullets(2, only=True)),
    ('Reply only with 2 bullets that start with "- ".', Bullets(2, only=True)),
    ('Answer as a JSON object with the single key "result".', JsonObject(("result",))),
    ('Answer in JSON, with the single key "x".', JsonObject(("x",))),
    ('Reply only with JSON of the form {"message": "..."}.', JsonObject(("message",))),
    ('Your whole answer must be one JSON object whose key is "response".', JsonObject(("response",))),
    ('Output valid JSON with one key named "result" and nothing else.', JsonObject(("result",))),
    ("Reply in fewer than 10 words.", WordCount(None, 9)),
    ("Use at most 12 words in your answer.", WordCount(None, 12)),
    ("Keep the answer under 8 words.", WordCount(None, 7)),
    ("Answer in less than 8 words.", WordCount(None, 7)),
    ('Begin your answer with exactly this phrase: "Good question!"', StartsWith("Good question!")),
    ('Start your reply with the words "Well then,"', StartsWith("Well then,")),
    ('The first words of your answer must be "In short:"', StartsWith("In short:")),
    ('Always open your answer with "Sure thing!"', StartsWith("Sure thing!")),
    ("Write your whole answer in uppercase letters only.", LetterCase(upper=True)),
    ("Use only capital letters.", LetterCase(upper=True)),
    ("Answer in ALL CAPS.", LetterCase(upper=True)),
    ('Do not use the word "the" in your answer.', ForbiddenWords(("the",))),
    ('Avoid the word "the" completely.', ForbiddenWords(("the",))),
    ('Your answer must not contain the word "the".', ForbiddenWords(("the",))),
    ('Never write the word "the".', ForbiddenWords(("the",))),
    # further ways to say it
    ("Your answer must not contain a capital letter.", LetterCase(upper=False)),
    ("Your answer must not be longer than 9 words.", WordCount(None, 9)),
    ("The reply should not be more than two sentences.", SentenceCount(None, 2)),
    ("Your answer cannot be longer than 9 words.", WordCount(None, 9)),
    ("Write 9 words or fewer.", WordCount(None, 9)),
    ('Write only JSON of the form {"note": "..."}.', JsonObject(("note",))),
    ('At the end of your answer, write "So long!"', EndsWith("So long!")),
    ('At the very end of every reply, add the phrase "So long!"', EndsWith("So long!")),
    ('Always put "So long!" at the end of your answer.', EndsWith("So long!")),
    ("From now on, answer in one line.", LineCount(1, 1)),
    ("Answer in one or two short sentences.", SentenceCount(1, 2)),
    ("Please reply in a single sentence.", SentenceCount(1, 1)),
    ("Use at most three sentences.", SentenceCount(None, 3)),
    ("Answer in three sentences or fewer.", SentenceCount(None, 3)),
    ("Limit your answer to three sentences.", SentenceCount(None, 3)),
    ("Reply in two sentences at most.", SentenceCount(None, 2)),
    ("Limit the answer to one or two sentences.", SentenceCount(1, 2)),
    ("Limit answers to only one sentence.", SentenceCount(1, 1)),
    ("Limit jargon and write in two sentences.", SentenceCount(2, 2)),
    ("Write at least 200 words.", WordCount(200, None)),
    ("Keep it between 20 and 40 words.", WordCount(20, 40)),
    ("Answer in 50 words or less.", WordCount(None, 50)),
    ("There should be exactly 3 paragraphs.", ParagraphCount(3, 3)),
    ("Return your answer as valid JSON.", ValidJson()),
    ('Reply with a JSON object with the keys "a" and "b".', JsonObject(("a", "b"))),
    ("Don't use bullet points.", NoBullets()),
    ("Answer only in bullet points.", Bullets(None, only=True)),
    ("Answer in French.", FRENCH),
    ("Always respond only in French, no other language is allowed.", FRENCH),
    ("Do not use any commas.", NoCharacter("comma")),
    ("No exclamation marks, please.", NoCharacter("exclamation mark")),
    ("Never use em dashes.", NoCharacter("em dash")),
    ("No emojis.", NoEmoji()),
    ("Don't use question marks.", NoQuestion()),
    ("Do not ask questions.", NoQuestion()),
    ("End every answer with a question.", EndsWithQuestion()),
    ("Wrap your entire response in double quotation marks.", Quoted()),
    ("Do not say the words 'basically' or 'simply'.", ForbiddenWords(("basically", "simply"))),
    ("Never use the word very.", ForbiddenWords(("very",))),
    ('Include the keywords "harbour" and "gull".', RequiredWords(("harbour", "gull"))),
    # how often, how long
    ('The word "tide" should appear at least 3 times.', WordFrequency(3, None, "tide")),
    ("Use the word mast no more than twice in your answer.", WordFrequency(None, 2, "mast")),
    ("Make sure the letter q appears less than 4 times.", LetterFrequency(None, 3, "q")),
    ('Do not use the letter "e".', LetterFrequency(None, 0, "e")),
    ("Use words in all capital letters at least 3 times.", CapitalWords(3, None)),
    ("Include between 2 and 6 words in capital letters.", CapitalWords(2, 6)),
    ("Keep it to at most 140 characters.", CharacterCount(None, 140)),
    ("Fix the bug, and answer in one line.", LineCount(1, 1)),
    ("Use no more than two sentences per answer.", SentenceCount(None, 2)),
    ("Write no more than 150 words.", WordCount(None, 150)),
    ("Respond with one word.", WordCount(1, 1)),
    ("Write it as a single paragraph.", ParagraphCount(1, 1)),
    # the parts of an answer
    ("The reply must have a title in double angular brackets, i.e. <<title>>.", Title()),
    ("Write 3 sections. Mark the beginning of each section with Part X.", Sections(3, None, "Part")),
    ("There should be 4 paragraphs, separated by the markdown divider ***.", DividedParagraphs(4)),
    ('Write 3 paragraphs. Paragraph 2 must start with the word "meanwhile".',
     ParagraphStart("meanwhile", 2, 3)),
    ("Start the 2nd paragraph with the word Then. There should be 2 paragraphs.",
     ParagraphStart("Then", 2, 2)),
    ("Add a postscript that starts with P.S. at the end.", Postscript("P.S.")),
    ("Use at least 5 placeholders in square brackets, such as [name].", Placeholders(5, None)),
    ("Highlight at least 2 sections with markdown, i.e. *like this*.", Highlights(2, None)),
    ("Give two different answers, separated by 6 asterisks: ******.", TwoResponses()),
    ("What is tin? Repeat the question above word for word first, then answer.",
     RepeatRequest("What is tin?")),
    ("First repeat the request below word for word.\n\nName a metal.", RepeatRequest("Name a metal.")),
    ('Answer only with "yes" or "no".', OneOf(("yes", "no"), only=True)),
    # markup, manners, numbers
    ("No markdown, please.", NoMarkdown()),
    ("Don't use headings.", NoHeadings()),
    ("Never use code blocks.", NoCodeBlocks()),
    ("Return only the code.", CodeOnly()),
    ("Format the answer as a markdown table.", Table()),
    ("Answer as CSV.", Csv()),
    ("Output only valid YAML.", Yaml()),
    ("Respond in XML format.", Xml()),
    ("Stop apologizing!", NoApology()),
    ("Skip the pleasantries.", NoPreamble()),
    ("Answer with only a number.", NumberOnly()),
    ("Round to two decimal places.", Decimals(2)),
    ("Spell out all numbers.", NoDigits()),
    ('Never start an answer with "Sure" or "Great".', NotStart(("Sure", "Great"))),
    ("Return JSON with keys name and age.", JsonObject(("name", "age"))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "constraint"), READ)
def test_read(text: str, constraint: Constraint) -> None:
    assert read_constraints(text, detect).constraints == (constraint,)


@pytest.mark.parametrize(
    "text",
    [
        "Why is the sky blue?",
        "You don't have to use JSON.",
        "Do not answer in JSON.",
        "If I ask for data, reply in JSON.",
        "Answer in lowercase unless it is a name.",
        "You may use capital letters.",
        "Never answer in French.",
        "Write the title in capital letters.",
        "Write a title of at most five words.",
        "Each bullet must have fewer than ten words.",
        "Answer in about 50 words.",
        "Use the word in a sentence.",
        "Answer in French or German.",
        "Return JSON with a key for each city.",
        'Mention the word "the" or the word "a".',
        "The second paragraph must start with \"it\".",
        "Write at least three but try to keep it short.",
        "Save it to a JSON file.",
        'The user said "answer in lowercase letters only".',
        # what somebody else wrote, wants, or does
        'The API returns JSON with the key "id".',
        "My boss always writes in all caps.",
        "Our style guide says answers in English only.",
        "He told me to answer in one sentence.",
        "They wanted a reply in under 50 words.",
        "I never use commas.",
        "Summarize the article on why people never apologize.",
        'Write a story in which nobody uses the word "love".',
        "I want to learn how to write without commas.",
        "My essay must have at least 500 words.",
        # a thing to be built, and parts of the answer
        "Write a function that returns at most 5 words.",
        "Write a test that checks that the response is valid JSON.",
        "Add a field with at least 3 characters.",
        "Make the button label uppercase.",
        "Read the CSV and output JSON.",
        "Commit messages must be under 72 characters.",
        "Lines must not exceed 100 characters.",
        "Each paragraph should have at least 3 sentences.",
        "For every step, use no more than ten words.",
        'The word "lavish" should not appear in the second sentence.',
        "Each sentence in your poem must start with 'H'.",
        "Your answer must not contain a capital letter after a colon.",
        "Your title must not contain a capital letter.",
        "My password must not contain a capital letter.",
        "A title must not be longer than 9 words.",
        "Each sentence must not be longer than 9 words.",
        "Write a list of words or fewer if you like.",
        'Write JSON of the form {"note": "..."} to the log.',
        'At the end of each sentence, write "so".',
        'At the end of your answer, write "so" or "thus".',
        'At the end of the file, write "so".',
        # questions, quotations, releases
        'Should I end with "Thanks"?',
        'Translate "answer in French" into German.',
        "What does 'use only lowercase letters' mean?",
        "Use the word processor.",
        "You can use bullet points.",
        "A haiku has three lines.",
    ],
)  # fmt: skip
def test_in_doubt_nothing_is_read(text: str) -> None:
    assert read_constraints(text, detect).constraints == ()


def test_language_needs_a_detector() -> None:
    assert read_constraints("Answer in French.").constraints == ()


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("Please reply in all lowercase.", True),
        ("Reply in lowercase and mention the capital of the country.", False),
        ("Answer in lowercase. Be polite to the customer.", False),
        ('Give exactly 4 bullet points and nothing else. Start each with "- ".', True),
    ],
)
def test_complete_only_when_nothing_else_is_demanded(text: str, complete: bool) -> None:
    assert read_constraints(text).complete is complete


def test_several_in_one_sentence() -> None:
    found = read_constraints('Answer in lowercase, without commas, and end with "bye".').constraints
    assert set(found) == {LetterCase(upper=False), NoCharacter("comma"), EndsWith("bye")}


CHECKS = [
    (LetterCase(upper=False), "all lower 1.", "Not lower."),
    (LetterCase(upper=True), "ALL UPPER", "NOT UPPEr"),
    (LetterCase(upper=True), "A", "123"),
    (JsonObject(("a",)), '{"a": "x"}', '{"b": "x"}'),
    (JsonObject(("a",)), ' {"a": {"b": 1}}\n', '```json\n{"a": 1}\n```'),
    (JsonObject(("a", "b")), '{"b": 1, "a": 2}', '{"a": 1}'),
    (ValidJson(), '```json\n[1]\n```', "{'a': 1}"),
    (StartsWith("Well then,"), "Well then, yes.", "Yes, well then,"),
    (EndsWith("That is all."), "Yes. That is all.", "That is all. Yes."),
    (Quoted(), '"Yes."', 'He said "yes."'),
    (Bullets(2, only=True), "- one\n- two", "Here:\n- one\n- two"),
    (Bullets(2, only=False), "Here:\n* one\n* two", "- one"),
    (NoBullets(), "One. Two.", "1. One\n2. Two"),
    (WordCount(None, 3), "one two three", "one two three four"),
    (WordCount(2, None), "one two", "one"),
    (SentenceCount(None, 2), "One. Two.", "One. Two. Three."),
    (LineCount(1, 1), "one line", "two\nlines"),
    (ParagraphCount(2, 2), "a\n\nb", "a\nb"),
    (ForbiddenWords(("the",)), "A bather.", "The sea."),
    (RequiredWords(("Gull",)), "a gull.", "a bird."),
    (NoCharacter("comma"), "a b", "a, b"),
    (NoEmoji(), "fine", "fine \U0001f600"),
    (NoQuestion(), "Yes.", "Yes?"),
    (EndsWithQuestion(), "Yes. And you?", "And you? Yes."),
    (FRENCH, "voici le chat noir", "this is an English text"),
    (WordFrequency(2, None, "sea"), "The sea, the sea.", "The sea."),
    (LetterFrequency(None, 1, "t"), "a tin", "that"),
    (CapitalWords(1, 2), "It is HOT.", "It is hot."),
    (CharacterCount(None, 5), "  five5 ", "longer"),
    (Title(), "<<Tin>>\nIt is soft.", "<< >> It is soft."),
    (Sections(2, None, "Day"), "Day 1\na\nDay 2\nb", "Day 1\na"),
    (DividedParagraphs(2), "one\n\n***\n\ntwo\n***", "one\n\ntwo"),
    (ParagraphStart("then", 2, 2), "First.\n\n\"Then, more.", "Then.\n\nFirst."),
    (Postscript("P.P.S"), "Bye.\n\np. p. s. More.", "Bye. P.S. More."),
    (Placeholders(2, None), "[name] of [town]", "[name]"),
    (Highlights(2, None), "*one* and **two**", "*one* and * *"),
    (TwoResponses(), "one\n******\ntwo", "one\n******\none"),
    (RepeatRequest("What is tin?"), "what is tin? A metal.", "A metal."),
    (OneOf(("yes", "no"), only=True), "Yes.", "Yes, it is."),
    (OneOf(("yes", "no"), only=False), "My answer: yes", "Perhaps"),
    (NoMarkdown(), "Plain 3 * 4 text - so.", "Some **bold** text"),
    (NoHeadings(), "#1 is first", "# One\nfirst"),
    (NoCodeBlocks(), "Use `x`.", "```\nx\n```"),
    (CodeOnly(), "```py\nx = 1\n```", "Here:\n```py\nx = 1\n```"),
    (Table(), "| a | b |\n|---|---|\n| 1 | 2 |", "a | b"),
    (Csv(), "a,b\n1,2", "a,b\n1,2,3"),
    (Yaml(), "```yaml\na: 1\nb:\n  - 2\n```", "Here you are:\na: 1\nThat is all."),
    (Xml(), "<a><b/></a>", "<a><b></a>"),
    (NoApology(), "It is a sorry sight.", "I'm so sorry about that."),
    (NumberOnly(), "1,250.5", "It is 5"),
    (Decimals(2), "1.25 and 30", "1.5"),
    (NoDigits(), "three", "3"),
    (NotStart(("Sure",)), "Surely not.", "Sure, I can."),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "good", "bad"), CHECKS)
def test_check(constraint: Constraint, good: str, bad: str) -> None:
    assert constraint.check(good) is True
    assert constraint.check(bad) is False
    assert constraint.check("") is not True


@pytest.mark.parametrize(
    ("one", "other", "implied"),
    [
        (Bullets(3, only=True), Bullets(None, only=False), True),
        (Bullets(3, only=False), Bullets(None, only=True), False),
        (Bullets(3, only=True), Bullets(2, only=True), False),
        (JsonObject(("a",)), ValidJson(), True),
        (ValidJson(), JsonObject(("a",)), False),
        (NoEmoji(), NoEmoji(), True),
    ],
)
def test_implies(one: Constraint, other: Constraint, implied: bool) -> None:
    assert one.implies(other) is implied


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (FRENCH, "ok"),
        (WordCount(None, 3), "it's well-known now"),
        (RequiredWords(("riddle",)), "Two riddles."),
        (WordFrequency(2, None, "sea"), "The sea has seals."),
        (NoPreamble(), "Tin is a metal."),
        (CodeOnly(), "x = 1"),
        (Decimals(2), "three"),
        (Xml(), "<!DOCTYPE a><a/>"),
        (Yaml(), "a: |\n  free text"),
    ],
)
def test_what_cannot_be_told_is_neither(constraint: Constraint, text: str) -> None:
    assert constraint.check(text) is None


ANSWER = "The sky is blue, because air scatters blue light. It scatters the red less! Do you see?"


@pytest.mark.parametrize(
    ("constraint", "repaired"),
    [
        (LetterCase(upper=False), ANSWER.lower()),
        (JsonObject(("k",)), '{"k": "The sky is blue, because air scatters blue light."}'),
        (EndsWith("Bye."), "The sky is blue, because air scatters blue light. Bye."),
        (StartsWith("Well:"), "Well: " + ANSWER),
        (SentenceCount(1, 2), "The sky is blue, because air scatters blue light. It scatters the red less!"),
        (WordCount(None, 4), "The sky is blue."),
        (NoQuestion(), "The sky is blue, because air scatters blue light. It scatters the red less!"),
        (NoCharacter("comma"), ANSWER.replace(",", "")),
        (ForbiddenWords(("the",)), ANSWER.replace("The sky", "Sky").replace("the ", "")),
        (ForbiddenWords(("red",)), "The sky is blue, because air scatters blue light. Do you see?"),
        (RequiredWords(("gull",)), None),
        (WordFrequency(None, 1, "it"), ANSWER),
        (WordFrequency(None, 0, "red"), "The sky is blue, because air scatters blue light. Do you see?"),
        (CapitalWords(2, None), ANSWER.replace("The sky", "THE SKY")),
        (CharacterCount(None, 60), "The sky is blue, because air scatters blue light."),
        (Title(), "<<The sky is blue because air>>\n\n" + ANSWER),
        (Highlights(1, None), ANSWER.replace("The sky", "*The sky*")),
        (DividedParagraphs(2), ANSWER.replace("light. ", "light.\n\n***\n\n")),
        (RepeatRequest("Why?"), "Why?\n\n" + ANSWER),
        (NotStart(("The",)), "It scatters the red less! Do you see?"),
        (WordCount(100, None), None),
    ],
)
def test_repair(constraint: Constraint, repaired: str | None) -> None:
    assert constraint.repair(ANSWER) == repaired


def test_repair_renames_a_wrong_key() -> None:
    assert json.loads(JsonObject(("k",)).repair('{"answer": [1]}') or "") == {"k": [1]}


def test_repair_leaves_a_good_answer_alone() -> None:
    assert LetterCase(upper=False).repair("fine already") == "fine already"


def test_repair_of_several_keeps_all() -> None:
    demands = [JsonObject(("k",)), LetterCase(upper=False), SentenceCount(1, 2), ForbiddenWords(("blue",))]
    repaired = repair_all(ANSWER, demands)
    assert repaired is not None
    assert broken(repaired, demands) == []
    assert repair_all(ANSWER, [LetterCase(upper=False), LetterCase(upper=True)]) is None


@given(
    st.sampled_from(sorted({c for c, _, _ in CHECKS} | {c for _, c in READ}, key=str)),
    st.text(alphabet='abcAB éß.,!?-*\n"{}:12\U0001f600', max_size=120),
)
def test_a_repair_satisfies_its_check(constraint: Constraint, text: str) -> None:
    repaired = constraint.repair(text)
    assert repaired is None or constraint.check(repaired) is not False


@given(st.text(max_size=200))
def test_reading_never_fails(text: str) -> None:
    for constraint in read_constraints(text, detect).constraints:
        constraint.check(text)
