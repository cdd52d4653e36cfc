"""The price table that the layer carries: `data/prices.json`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from playground.domain.pricing import ModelPrice, Pack, PlanPrice, PriceTable, PriceTableError, Tiers

PATH = Path(__file__).parent.parent / "data" / "prices.json"


@cache
def load_prices(path: Path = PATH) -> PriceTable:
    """The table at `path`. Raises PriceTableError if it is incomplete or could mint credits or sell them under cost."""
    return parse_prices(json.loads(path.read_text(encoding="utf-8")))


def parse_prices(data: dict[str, Any]) -> PriceTable:
    """The table that `data` describes. Whole numbers only, no field more or less. Raises PriceTableError."""
    _only_whole_numbers(data, "prices")
    try:
        models = [ModelPrice(**{**row, "efforts": tuple(row["efforts"])}) for row in data["models"]]
        tiers = Tiers(
            steps=tuple((up_to, credits_) for up_to, credits_ in data["tiers"]["steps"]),
            further_tokens=data["tiers"]["further_tokens"],
        )
        return PriceTable(
            **{
                **data,
                "tiers": tiers,
                "models": {model.name: model for model in models},
                "packs": tuple(Pack(**row) for row in data["packs"]),
                "plan": PlanPrice(**data["plan"]),
            }
        )
    except (TypeError, KeyError) as error:
        raise PriceTableError(f"the price table is incomplete or has an unknown field: {error}") from error


def _only_whole_numbers(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise PriceTableError(f"{where}: whole numbers only, not {value}")
    if isinstance(value, dict):
        for key, item in value.items():
            _only_whole_numbers(item, f"{where}.{key}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            _only_whole_numbers(item, f"{where}[{number}]")
