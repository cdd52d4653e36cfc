"""Credits: whole numbers in three buckets, spent monthly → rollover → purchased."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Deltas:
    """Signed changes of the three buckets, as an entry records them."""

    monthly: int = 0
    rollover: int = 0
    purchased: int = 0

    @property
    def total(self) -> int:
        return self.monthly + self.rollover + self.purchased

    def __neg__(self) -> "Deltas":
        return Deltas(monthly=-self.monthly, rollover=-self.rollover, purchased=-self.purchased)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """The credits of an account. No bucket is ever negative."""

    monthly: int = 0
    rollover: int = 0
    purchased: int = 0

    def __post_init__(self) -> None:
        if min(self.monthly, self.rollover, self.purchased) < 0:
            raise ValueError(f"a bucket cannot be negative: {self}")

    @property
    def total(self) -> int:
        return self.monthly + self.rollover + self.purchased

    def draw_down(self, amount: int) -> Deltas:
        """The deltas of paying `amount`, in priority order. Raises ValueError if there are fewer credits."""
        if not 0 <= amount <= self.total:
            raise ValueError(f"cannot draw {amount} from {self}")
        monthly = min(amount, self.monthly)
        rollover = min(amount - monthly, self.rollover)
        return Deltas(monthly=-monthly, rollover=-rollover, purchased=-(amount - monthly - rollover))

    def plus(self, deltas: Deltas) -> "Buckets":
        """The buckets after `deltas`. Raises ValueError if one would become negative."""
        return Buckets(
            monthly=self.monthly + deltas.monthly,
            rollover=self.rollover + deltas.rollover,
            purchased=self.purchased + deltas.purchased,
        )
