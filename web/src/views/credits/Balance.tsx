import type { ComponentChildren } from "preact";
import { count, day } from "../../lib/format";
import type { Balance } from "../../session/balance";

/** The balance by its parts, in the order in which they are spent. */
export function BalanceParts({ balance }: { balance: Balance }) {
  const { monthly, rollover } = balance;
  return (
    <section aria-labelledby="balance-title" class="credits-balance">
      <h2 id="balance-title">Your balance</h2>
      <p class="credits-total">
        <strong>{count(balance.available)}</strong> {balance.available === 1 ? "credit" : "credits"} to spend
      </p>
      <dl class="credits-parts">
        <Part name="Monthly" amount={monthly.remaining}>
          {monthly.allocated > 0 ? (
            <>
              <meter min={0} max={monthly.allocated} value={monthly.remaining} aria-label="Monthly credits left" />
              {`of ${monthly.allocated}`}
              {monthly.reset_at && `, next reset ${day(monthly.reset_at)}`}
            </>
          ) : (
            "with PRPM+"
          )}
        </Part>
        <Part name="Rolled over" amount={rollover.amount}>
          {rollover.expires_at ? `until ${day(rollover.expires_at)}` : "from last month"}
        </Part>
        <Part name="Purchased" amount={balance.purchased}>
          with welcome and bonus credits; they never expire
        </Part>
        {balance.held > 0 && (
          <Part name="Held" amount={balance.held}>
            for runs that are being made; what they do not cost comes back
          </Part>
        )}
        {balance.debt > 0 && (
          <Part name="Owed" amount={balance.debt}>
            of credits that were taken back when they were not there any more, as after a refund. What you get next pays this first.
          </Part>
        )}
      </dl>
      <p class="credits-note">Credits are spent in this order: monthly, rolled over, purchased.</p>
    </section>
  );
}

function Part({ name, amount, children }: { name: string; amount: number; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <span class="credits-amount">{count(amount)}</span> <small>{children}</small>
      </dd>
    </div>
  );
}
