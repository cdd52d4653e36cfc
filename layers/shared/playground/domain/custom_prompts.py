"""Custom prompts: a text of the caller's own in place of a package, and who may run one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from playground.domain.account import Plan
from playground.domain.pricing import CustomPromptTerms

NAME = "Custom Prompt"
"""Of what is run, where a package's name would be shown."""
MIN_CHARACTERS = 10
MAX_CHARACTERS = 50_000
MIN_USEFUL_CHARACTERS = 50
MAX_USEFUL_CHARACTERS = 20_000
_OVERRIDES = re.compile(r"ignore.{0,200}previous", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class CustomPrompt:
    """What is run in place of a package's version."""

    prompt: str = field(repr=False)
    package_id: None = None
    name: str = NAME
    version: None = None


class CustomPrompts(StrEnum):
    """The operator's switch: who may run custom prompts in this deployment. `PLANS`: accounts with a plan that the
    price table lists, and verified authors."""

    OFF = "off"
    PLANS = "plans"
    EVERYBODY = "everybody"

    def plans(self, terms: CustomPromptTerms | None, *, is_verified_author: bool) -> frozenset[Plan]:
        """The plans with which the caller may run one; empty if none. Without `terms` nobody may."""
        if self is CustomPrompts.OFF or terms is None:
            return frozenset()
        if self is CustomPrompts.EVERYBODY or is_verified_author:
            return frozenset(Plan)
        return frozenset(terms.plans)


def warnings_of(text: str) -> Sequence[str]:
    """What may make a prompt work badly; it is run all the same."""
    found = []
    if len(text) < MIN_USEFUL_CHARACTERS:
        found.append(f"The prompt is short: under {MIN_USEFUL_CHARACTERS} characters it may say too little.")
    if len(text) > MAX_USEFUL_CHARACTERS:
        found.append(f"The prompt is long: over {MAX_USEFUL_CHARACTERS:,} characters it costs more with every turn.")
    if _OVERRIDES.search(text):
        found.append("The prompt seems to tell the model to ignore earlier instructions; there are none.")
    return found
