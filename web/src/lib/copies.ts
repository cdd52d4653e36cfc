/** An answer in other forms. */
import type { RunBody } from "../api/stream";

/** Markdown without its marks, from its HTML. */
export function plainText(html: string): string {
  const page = new DOMParser().parseFromString(html, "text/html");
  return textOf(page.body).replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
}

function textOf(node: Node): string {
  if (node.nodeType === Node.TEXT_NODE) {
    const text = node.textContent ?? "";
    // Space between the parts of a list or a table is the HTML's own.
    return text.trim() === "" && text.includes("\n") && !node.parentElement?.closest("pre") ? "" : text;
  }
  const inner = Array.from(node.childNodes, textOf).join("");
  switch (node.nodeName) {
    case "BR":
      return "\n";
    case "HR":
      return "\n\n";
    case "LI":
      return `${mark(node as HTMLElement)} ${inner.trim().replaceAll("\n", "\n  ")}\n`;
    case "TD":
    case "TH":
      return `${inner}\t`;
    case "TR":
      return `${inner.trimEnd()}\n`;
    case "UL":
    case "OL":
      return `${node.parentElement?.closest("li") ? "\n" : ""}${inner}\n`;
    case "P":
    case "PRE":
    case "BLOCKQUOTE":
    case "TABLE":
    case "H3":
    case "H4":
    case "H5":
    case "H6":
      return `${inner.trimEnd()}\n\n`;
    default:
      return inner;
  }
}

function mark(item: HTMLElement): string {
  const list = item.parentElement;
  if (list?.nodeName !== "OL") return "-";
  const first = Number(list.getAttribute("start") ?? 1);
  return `${first + Array.from(list.children).indexOf(item)}.`;
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
