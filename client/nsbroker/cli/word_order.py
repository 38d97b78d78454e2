"""The failure for a command line whose words are misspelt or in the wrong order, with the line that may be meant.

Loaded only after a failure. Pure, but for a look at the programs in PATH.
"""

from __future__ import annotations

import difflib
import shlex
import shutil

from .messages import FailureError, usage_error

_ALONE = ("list", "help")
"""Words that may stand without a namespace."""


def wrong_words(options: list[tuple[str, str]], words: list[str], verbs: tuple[str, ...]) -> FailureError:
    """Return the failure for words that do not begin with a namespace and a verb.

    Args:
        options: the options before the words, with their values.
        words: the first words, at least one.
        verbs: the verbs that follow a namespace.
    """
    given = [word for pair in options for word in pair if word]
    namespace, verb, rest = words[0], words[1] if len(words) > 1 else "", words[2:]
    if namespace in verbs and (not verb or verb.startswith("-")):
        return usage_error(f"{namespace} needs a namespace before it: {_line(given, ['NS', *words])}")
    if namespace in verbs:
        return usage_error(f"the namespace comes before the verb: {_line(given, [verb, namespace, *rest])}")
    known = (*verbs, *_ALONE)
    if not verb:
        text = f"after {namespace!r} a verb is missing: use one of {', '.join(verbs)}, list"
        return usage_error(_similar(namespace, _ALONE, given, []) or text)
    text = f"unknown verb {verb!r}"
    if similar := _similar(verb, known, [*given, namespace], rest):
        return usage_error(f"{text}: {similar}")
    if shutil.which(verb):
        return usage_error(f"{text}: to run the program, write {_line(given, [namespace, '--', verb, *rest])}")
    return usage_error(f"{text}: use one of {', '.join(verbs)}, list")


def wrong_topic(topic: str, topics: tuple[str, ...]) -> FailureError:
    """Return the failure for help about a word that is no verb."""
    return usage_error(f"there is no help about {topic!r}: use one of {', '.join(topics)}")


def _similar(word: str, known: tuple[str, ...], before: list[str], after: list[str]) -> str:
    found = difflib.get_close_matches(word, known, 1)
    return f"did you mean {_line(before, [found[0], *after])}?" if found else ""


def _line(given: list[str], words: list[str]) -> str:
    return shlex.join(["nsbroker-get", *given, *words])
