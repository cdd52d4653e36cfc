import { cut } from "../lib/format";
import { acceptOffer, account, accountName, declineOffer, offer } from "../session/token";
import { Confirm } from "./Confirm";

const MAX_NAME_CHARACTERS = 60;
const MAX_BUTTON_CHARACTERS = 32;

/** Characters that have no width or turn the direction of text could make one name look like another. */
export function shownName(name: string | null): string {
  const clean = (name ?? "").replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "").trim();
  return clean === "" ? "somebody else" : cut(clean, MAX_NAME_CHARACTERS);
}

/** Who is signed in, in the page's head. */
export function Account() {
  const name = accountName.value;
  if (name === null) return null;
  return (
    <bdi class="account" title={shownName(account.value)}>
      <span class="unseen">Signed in as </span>
      {shownName(name)}
    </bdi>
  );
}

/** A link with somebody else's token does not sign them in before the reader has agreed. */
export function SignInOffer() {
  const now = offer.value;
  if (now === null) return null;
  const present = shownName(now.present);
  const name = shownName(now.name);
  return (
    <Confirm title="Change the account?" yes={`Sign in as ${cut(name, MAX_BUTTON_CHARACTERS)}`} no={`Stay with ${cut(present, MAX_BUTTON_CHARACTERS)}`} onYes={acceptOffer} onNo={declineOffer}>
      <p>
        The link that you have opened signs you in as <bdi class="account-name">{name}</bdi>. This tab is of{" "}
        <bdi class="account-name">{present}</bdi>.
      </p>
      <p>If you change, what you run and buy belongs to the other account, and what you have written in this tab is removed.</p>
    </Confirm>
  );
}
