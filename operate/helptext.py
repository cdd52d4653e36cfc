"""The lower half of a command's help: sections of prose, rights, exit statuses and examples, for 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence

from operate.errors import STATUSES

WIDTH = 76  # columns, beside the indent that click adds
RIGHTS_EVERYWHERE = "cloudformation:DescribeStacks"


def more_help(
    sections: Mapping[str, str] | None = None,
    *,
    rights: Sequence[str] = (),
    statuses: Mapping[int, str | None] | None = None,
    examples: Sequence[str],
) -> str:
    """Text for `epilog`. `statuses` says more of a status than STATUSES; None: the command never ends with it."""
    parts = [_section(title, _prose(text)) for title, text in (sections or {}).items()]
    if rights:
        parts.append(
            _section(
                "Rights on a deployed stack", [line for right in (RIGHTS_EVERYWHERE, *rights) for line in _item(right)]
            )
        )
    lines = {**STATUSES, **(statuses or {})}
    parts.append(
        _section(
            "Exit status",
            [line for number, text in lines.items() if text is not None for line in _item(text, f"{number}  ")],
        )
    )
    parts.append(_section("Examples", [f"  {example}" for example in examples]))
    return "\n".join(parts)


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join(["\b", f"{title}:", *lines, ""])


def _prose(text: str) -> list[str]:
    """Paragraphs, each wrapped; a line that begins with four spaces stays as it is."""
    lines: list[str] = []
    for paragraph in text.strip("\n").split("\n"):
        if paragraph.startswith("    "):
            lines.append(paragraph)
        else:
            lines += textwrap.wrap(paragraph, WIDTH, initial_indent="  ", subsequent_indent="  ")
    return lines


def _item(text: str, mark: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {mark}", subsequent_indent="  " + " " * (len(mark) or 2))
