"""`playground invoke run events/run/ok.json`: call one function of the stack on this machine."""

import json
from pathlib import Path

import click

from local.invoke import UnknownFunctionError, call, check_function, with_tokens
from local.running import NoStackError, running
from local.settings import TEMPLATE, state_dir
from local.template import TemplateError
from local.tokens import TokenError, issuer
from operate.errors import CannotDoError
from operate.helptext import more_help
from operate.options import MOMENT
from playground.domain.calendar import iso


@click.command(
    "invoke",
    epilog=more_help(
        {
            "Tokens": "Anywhere in the file {{token}} stands for a fresh token of the user demo, {{token:alice}} for "
            "one of alice, so that the files stay valid.",
        },
        statuses={0: "the function gave an answer", 1: "the function failed", 4: None},
        examples=[
            "./playground invoke run events/run/ok.json",
            "./playground invoke reset events/reset/daily.json --at 2027-01-31T00:00:00Z",
        ],
    ),
)
@click.argument("function")
@click.argument("event", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--at", type=MOMENT, help="The time of scheduled work, instead of that in the file.")
@click.option("--json", is_flag=True, expose_value=False, help="Accepted, as everywhere; the answer is JSON anyway.")
def command(function: str, event: Path, at: object) -> int:
    """Call FUNCTION (run, or RunFunction) with the event in the file EVENT and print its answer as JSON."""
    try:
        state = running()
        check_function(function, state["functions"])
        document = json.loads(with_tokens(event.read_text(encoding="utf-8"), issuer(TEMPLATE, state_dir())))
    except (NoStackError, TokenError, TemplateError, UnknownFunctionError) as error:
        raise CannotDoError(str(error)) from None
    except OSError as error:
        raise CannotDoError(f"{event} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CannotDoError(f"{event} is not UTF-8") from None
    except ValueError as error:
        raise CannotDoError(f"{event} is not JSON: {error}") from None
    if at is not None:
        if not isinstance(document, dict) or "at" not in document:
            raise CannotDoError(f"{event} has no time `at` that --at could replace")
        document["at"] = iso(at)  # type: ignore[arg-type]
    try:
        status, failure, answer = call(str(state["runtime_url"]), function, document)
    except OSError as error:
        raise CannotDoError(f"the stack does not answer at {state['runtime_url']}: {error}") from None
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    return 0 if status == 200 and failure is None else 1
