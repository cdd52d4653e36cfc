/** An answer in other forms. */
import type { RunBody } from "../api/stream";

/** Markdown without its marks, from its HTML. */
export function plainText(html: string): string {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const item of page.querySelectorAll("li")) item.prepend("- ");
  for (const cell of page.querySelectorAll("td, th")) cell.append("\t");
  for (const end of page.querySelectorAll("br, li, tr, p, h1, h2, h3, h4, h5, h6, pre, blockquote, ul, ol, hr")) {
    end.append("\n");
    if (end.matches("p, pre, ul, ol, blockquote, h3, h4, h5, h6") && !end.closest("li")) end.append("\n");
    if (end.matches("br, hr")) end.replaceWith("\n");
  }
  return (page.body.textContent ?? "").replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
}

/** A command that makes the same run again. The token stays where it is: the command takes it from $TOKEN. */
export function curl(api: string, body: RunBody): string {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== undefined));
  return [
    `curl -sS -X POST ${quoted(`${api}/playground/run`)} \\`,
    `  -H "Authorization: Bearer $TOKEN" \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d ${quoted(JSON.stringify(given))}`,
  ].join("\n");
}

/** For a POSIX shell: nothing in it is interpreted. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
