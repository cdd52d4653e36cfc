"""`playground pay pur_...`: pay a purchase at the stand-in for Stripe."""

import http.client

import click

from doubles.stripe.cards import SHORT
from local.running import NoStackError, running
from local.till import CannotPayError, NoPurchaseError, Till
from operate.errors import CannotDoError, NotThereError, RefusedError
from operate.helptext import more_help
from operate.options import TEXT, in_json, show


@click.command(
    "pay",
    epilog=more_help(
        {"Cards": f"{', '.join(SHORT)}, or one of Stripe's own names, such as pm_card_amex."},
        statuses={0: "the payment was made, or declined as the card wants it"},
        examples=["./playground pay pur_0k3...", "./playground pay pur_0k3... --card declined"],
    ),
)
@click.argument("purchase", type=TEXT)
@click.option("--card", type=TEXT, default="visa", show_default=True, help="A test card.")
@in_json
def command(purchase: str, card: str, as_json: bool) -> None:
    """Pay PURCHASE with a test card, as a customer would in the browser. Only on the stack on this machine."""
    try:
        state = running()
        if state.get("stripe_url") is None:
            raise RefusedError("the stack uses the real Stripe: pay in the browser, with one of its test cards")
        intent = Till(state["stripe_url"]).pay(purchase, card)
    except NoStackError as error:
        raise CannotDoError(str(error)) from None
    except NoPurchaseError as error:
        raise NotThereError(str(error)) from None
    except CannotPayError as error:
        raise RefusedError(str(error)) from None
    except http.client.HTTPException as error:
        raise CannotDoError(f"the stand-in for Stripe did not answer: {error}") from None
    text = f"{intent['id']} {intent['status']}: {intent['amount'] / 100:.2f} {intent['currency'].upper()}"
    show(intent, text, as_json=as_json)
