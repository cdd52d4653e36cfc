/** Amounts of money and of changes. */

export function dollars(cents: number): string {
  return `$${(cents / 100).toFixed(2)}`;
}

export function signed(amount: number): string {
  return amount > 0 ? `+${amount}` : amount < 0 ? `−${-amount}` : "0";
}
