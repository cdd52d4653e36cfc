import { count, credits, day } from "../lib/format";
import { links } from "../router";
import { balance, type Balance } from "../session/balance";
import { accountName } from "../session/token";
import { shownName } from "./Account";
import { Menu } from "./Menu";

/** The balance in the page's head, with its parts to open. */
export function BalanceBadge() {
  const now = balance.value;
  if (now === null) return null;
  return (
    <Menu
      name={
        <>
          {credits(now.available)}
          <span class="unseen"> to spend: show the parts</span>
        </>
      }
    >
      {accountName.value !== null && (
        <p class="hint">
          Signed in as <bdi class="account-name">{shownName(accountName.value)}</bdi>
        </p>
      )}
      <dl>
        {parts(now).map(([name, amount, note]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              {count(amount)}
              {note && <span class="hint"> {note}</span>}
            </dd>
          </div>
        ))}
      </dl>
      <a href={links.credits()}>Receipts, packs and PRPM+</a>
    </Menu>
  );
}

function parts(now: Balance): [string, number, string | null][] {
  const { monthly, rollover } = now;
  const found: [string, number, string | null][] = [];
  if (monthly.allocated > 0 || monthly.remaining > 0) {
    found.push(["Monthly", monthly.remaining, monthly.reset_at && `new on ${day(monthly.reset_at)}`]);
  }
  if (rollover.amount > 0) found.push(["Rolled over", rollover.amount, rollover.expires_at && `until ${day(rollover.expires_at)}`]);
  found.push(["Purchased", now.purchased, "with welcome credits; do not expire"]);
  if (now.held > 0) found.push(["Held for runs", -now.held, null]);
  if (now.debt > 0) found.push(["Owed", now.debt, "taken from what comes in"]);
  return found;
}
