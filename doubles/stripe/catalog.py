"""Products and prices."""

from typing import Final

from doubles.stripe.wire import Obj, Params, currency, invalid, refused
from doubles.stripe.world import World

INTERVALS: Final = ("day", "week", "month", "year")
PRODUCT: Final = ("id", "name", "description", "metadata", "active", "default_price_data")
PRODUCT_UPDATE: Final = ("name", "description", "metadata", "active")
PRICE: Final = ("currency", "unit_amount", "recurring", "product", "product_data", "lookup_key", "nickname", "metadata")
PRICE_UPDATE: Final = ("active", "metadata", "nickname", "lookup_key")


class Catalog:
    def __init__(self, world: World) -> None:
        self.world = world

    def create_product(self, params: Params) -> Obj:
        identifier = params.text("id")
        if identifier is not None and identifier in self.world.objects:
            raise refused("Product already exists.", "resource_already_exists", "id")
        product = self._product(params, identifier)
        default = params.nested("default_price_data", ("currency", "unit_amount", "recurring", "metadata"))
        if "default_price_data" in params:
            price = self.price(default, product)
            self.world.update(product, default_price=price["id"])
        return product

    def update_product(self, identifier: str, params: Params) -> Obj:
        product = self.world.get("product", identifier)
        changes: Obj = {"metadata": params.metadata(product["metadata"])}
        for name in ("name", "description"):
            if name in params:
                changes[name] = params.text(name)
        if "active" in params:
            changes["active"] = params.flag("active")
        if previous := self.world.update(product, **changes):
            self.world.emit("product.updated", product, previous)
        return product

    def create_price(self, params: Params) -> Obj:
        if ("product" in params) == ("product_data" in params):
            raise invalid("You must specify either product or product_data.", "product", "parameter_missing")
        if "product" in params:
            return self.price(params, self.world.get("product", params.needed("product"), "product"))
        return self.price(params, self._product(params.nested("product_data", ("name", "metadata"))))

    def update_price(self, identifier: str, params: Params) -> Obj:
        price = self.world.get("price", identifier)
        changes: Obj = {"metadata": params.metadata(price["metadata"])}
        for name in ("nickname", "lookup_key"):
            if name in params:
                changes[name] = params.text(name)
        if "active" in params:
            changes["active"] = params.flag("active")
        if previous := self.world.update(price, **changes):
            self.world.emit("price.updated", price, previous)
        return price

    def inline(self, params: Params) -> Obj:
        """The price of a `price_data`."""
        if ("product" in params) == ("product_data" in params):
            raise invalid(
                "You must specify either product or product_data.", params.path("product"), "parameter_missing"
            )
        if "product" in params:
            product = self.world.get("product", params.needed("product"), params.path("product"))
        else:
            product = self._product(params.nested("product_data", ("name", "description", "metadata")))
        return self.price(params, product)

    def price(self, params: Params, product: Obj) -> Obj:
        amount = params.integer("unit_amount", lowest=0)
        if amount is None:
            raise params.missing("unit_amount")
        money = currency(params)
        recurring = None
        if "recurring" in params:
            given = params.nested("recurring", ("interval", "interval_count", "usage_type"))
            interval = given.choice("interval", INTERVALS)
            if interval is None:
                raise given.missing("interval")
            given.choice("usage_type", ("licensed",))
            recurring = {
                "interval": interval,
                "interval_count": given.integer("interval_count", lowest=1, highest=36) or 1,
                "meter": None,
                "trial_period_days": None,
                "usage_type": "licensed",
            }
        price = self.world.add(
            {
                "id": self.world.new_id("price"),
                "object": "price",
                "active": True,
                "billing_scheme": "per_unit",
                "created": self.world.now,
                "currency": money,
                "custom_unit_amount": None,
                "livemode": self.world.livemode,
                "lookup_key": params.text("lookup_key"),
                "metadata": params.metadata(),
                "nickname": params.text("nickname"),
                "product": product["id"],
                "recurring": recurring,
                "tax_behavior": "unspecified",
                "tiers_mode": None,
                "transform_quantity": None,
                "type": "recurring" if recurring else "one_time",
                "unit_amount": amount,
                "unit_amount_decimal": str(amount),
            }
        )
        self.world.emit("price.created", price)
        return price

    def _product(self, params: Params, identifier: str | None = None) -> Obj:
        product = self.world.add(
            {
                "id": identifier or self.world.new_id("prod"),
                "object": "product",
                "active": params.flag("active", default=True),
                "created": self.world.now,
                "default_price": None,
                "description": params.text("description"),
                "images": [],
                "livemode": self.world.livemode,
                "marketing_features": [],
                "metadata": params.metadata(),
                "name": params.needed("name"),
                "package_dimensions": None,
                "shippable": None,
                "statement_descriptor": None,
                "tax_code": None,
                "type": "service",
                "unit_label": None,
                "updated": self.world.now,
                "url": None,
            }
        )
        self.world.emit("product.created", product)
        return product


def plan_of(price: Obj) -> Obj:
    """The older name of a recurring price, which subscription items still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": {},
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
