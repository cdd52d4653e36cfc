"""Credit notes: reductions of an open invoice, and repayments of a paid one."""

from typing import Any, Final

from doubles.stripe.invoices import Invoices
from doubles.stripe.refunds import Refunds
from doubles.stripe.wire import Obj, Params, invalid, refused
from doubles.stripe.world import World, listing

CREATE: Final = (
    "invoice",
    "amount",
    "refund_amount",
    "credit_amount",
    "out_of_band_amount",
    "refunds",
    "reason",
    "memo",
    "metadata",
)
REASONS: Final = ("duplicate", "fraudulent", "order_change", "product_unsatisfactory")


class CreditNotes:
    def __init__(self, world: World, invoices: Invoices, refunds: Refunds) -> None:
        self.world = world
        self.invoices = invoices
        self.refunds = refunds

    def create(self, params: Params) -> Obj:
        world = self.world
        invoice = world.get("invoice", params.needed("invoice"), "invoice")
        amount = params.integer("amount", lowest=1)
        if amount is None:
            raise params.missing("amount")
        if invoice["status"] not in ("open", "paid"):
            raise refused(f"You can only create a credit note for an open or paid invoice: {invoice['status']}")
        noted = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
        if amount + noted > invoice["total"]:
            raise refused("The credit notes of an invoice cannot be more than its total.", param="amount")
        if invoice["status"] == "open":
            return self._before_payment(invoice, amount, params)
        names = ("refund_amount", "credit_amount", "out_of_band_amount")
        refund, credit, out_of_band = (params.integer(name, lowest=0) or 0 for name in names)
        linked = self._linked(params)
        if refund + credit + out_of_band + sum(each["amount_refunded"] for each in linked) != amount:
            raise invalid("The sum of credit amount, refund amount and out of band amount must equal the amount.")
        if refund:
            intent = world.objects[invoice["_intent"]] if invoice["_intent"] else None
            if intent is None:
                raise refused("There is no payment to refund.", param="refund_amount")
            made = self.refunds.create(
                Params({"payment_intent": intent["id"], "amount": str(refund)}, ("payment_intent", "amount"))
            )
            linked.append({"amount_refunded": refund, "refund": made["id"], "type": "refund"})
        note = self._note(
            invoice, amount, params, type_="post_payment", refunds=linked, out_of_band=out_of_band or None
        )
        if credit:
            customer = world.objects[invoice["customer"]]
            world.update(customer, balance=customer["balance"] - credit)
        world.update(invoice, post_payment_credit_notes_amount=invoice["post_payment_credit_notes_amount"] + amount)
        world.emit("credit_note.created", note)
        return note

    def void(self, identifier: str, _params: Params) -> Obj:
        """Void a note of an open invoice; a repayment cannot be voided."""
        note = self.world.get("credit_note", identifier)
        invoice = self.world.objects[note["invoice"]]
        if note["status"] == "void" or invoice["status"] != "open":
            raise refused("This credit note cannot be voided.")
        self.world.update(note, status="void", voided_at=self.world.now)
        self._owe(invoice, -note["amount"])
        self.world.emit("credit_note.voided", note)
        return note

    def _before_payment(self, invoice: Obj, amount: int, params: Params) -> Obj:
        if any(name in params for name in ("refund_amount", "credit_amount", "out_of_band_amount", "refunds")):
            raise invalid("Nothing of this invoice was paid yet.")
        note = self._note(invoice, amount, params, type_="pre_payment", refunds=[], out_of_band=None)
        self._owe(invoice, amount)
        self.world.emit("credit_note.created", note)
        if invoice["amount_remaining"] == 0:
            self.invoices.settle_without_payment(invoice)
        return note

    def _owe(self, invoice: Obj, less: int) -> None:
        self.world.update(
            invoice,
            pre_payment_credit_notes_amount=invoice["pre_payment_credit_notes_amount"] + less,
            amount_due=invoice["amount_due"] - less,
            amount_remaining=invoice["amount_remaining"] - less,
        )
        intent = self.world.find("payment_intent", invoice["_intent"])
        if intent is not None and intent["status"] not in ("succeeded", "canceled") and invoice["amount_remaining"]:
            self.world.update(intent, amount=invoice["amount_remaining"])

    def _linked(self, params: Params) -> list[Obj]:
        linked: list[Obj] = []
        for each in params.several("refunds", ("refund", "amount_refunded", "type")):
            refund = self.world.get("refund", each.needed("refund"), "refunds")
            amount = each.integer("amount_refunded", lowest=1) or refund["amount"]
            linked.append({"amount_refunded": amount, "refund": refund["id"], "type": "refund"})
        return linked

    def _note(
        self, invoice: Obj, amount: int, params: Params, *, type_: str, refunds: list[Obj], out_of_band: int | None
    ) -> Obj:
        identifier: Any = self.world.new_id("cn")
        before = type_ == "pre_payment"
        return self.world.add(
            {
                "id": identifier,
                "object": "credit_note",
                "amount": amount,
                "amount_shipping": 0,
                "created": self.world.now,
                "currency": invoice["currency"],
                "customer": invoice["customer"],
                "customer_account": None,
                "customer_balance_transaction": None,
                "discount_amount": 0,
                "discount_amounts": [],
                "effective_at": self.world.now,
                "invoice": invoice["id"],
                "lines": listing(f"/v1/credit_notes/{identifier}/lines", []),
                "livemode": invoice["livemode"],
                "memo": params.text("memo"),
                "metadata": params.metadata(),
                "number": f"{invoice['number']}-CN-{len(self.world.all('credit_note')) + 1:02}",
                "out_of_band_amount": out_of_band,
                "pdf": f"{self.world.url}/c/{identifier}/pdf",
                "post_payment_amount": 0 if before else amount,
                "pre_payment_amount": amount if before else 0,
                "pretax_credit_amounts": [],
                "reason": params.choice("reason", REASONS),
                "refunds": refunds,
                "shipping_cost": None,
                "status": "issued",
                "subtotal": amount,
                "subtotal_excluding_tax": amount,
                "total": amount,
                "total_excluding_tax": amount,
                "total_taxes": [],
                "type": type_,
                "voided_at": None,
            }
        )
