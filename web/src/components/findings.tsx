import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

/** Where the secret scan of the API has found something: characters of a turn, counted as code points. */
export interface Finding {
  turn: number;
  role: "user" | "assistant";
  kind: string;
  start: number;
  end: number;
}

/** Of the conversation that is shown. */
export const findings = signal<readonly Finding[]>([]);

const KINDS: Readonly<Record<string, string>> = {
  private_key: "a private key",
  aws_access_key_id: "an AWS access key id",
  aws_secret_key: "an AWS secret key",
  jwt: "a signed token (JWT)",
  authorization: "an Authorization header",
  url_password: "a password in an address",
  card_number: "a card number",
  email_address: "an e-mail address",
  api_key: "an API key",
};

export function kindName(kind: string): string {
  const words = kind.replaceAll("_", " ");
  return KINDS[kind] ?? `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
}

export function readFindings(facts: Readonly<Record<string, unknown>>): Finding[] {
  return Array.isArray(facts["findings"]) ? (facts["findings"] as Finding[]) : [];
}

/** The text with its findings marked. */
export function Marked({ text, found }: { text: string; found: readonly Finding[] }) {
  const all = Array.from(text);
  const parts: ComponentChildren[] = [];
  let from = 0;
  for (const each of [...found].sort((one, other) => one.start - other.start)) {
    if (each.start < from) continue;
    parts.push(
      all.slice(from, each.start).join(""),
      <mark key={each.start} title={kindName(each.kind)}>
        {all.slice(each.start, each.end).join("")}
      </mark>,
    );
    from = each.end;
  }
  parts.push(all.slice(from).join(""));
  return <>{parts}</>;
}
