/**
 * Markdown as safe HTML. The text is anybody's: HTML in it is shown as it is written and never interpreted, links lead to
 * the web and to e-mail only, pictures are links, for loading one tells its server who reads. What comes out is sanitised
 * all the same.
 */
import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? character);
}

/** The address, if a link may lead there. Control characters and spaces hide schemes from a simple look. */
export function safeAddress(address: string): string | null {
  const clean = address.replace(/[\u0000-\u0020\u007F-\u009F\u200B-\u200F\u2028-\u202F\uFEFF]/g, "");
  if (!SAFE_LINK.test(clean)) return null;
  try {
    return withoutToken(new URL(clean)).href;
  } catch {
    return null;
  }
}

/** A fragment of this page's own address may have a token, which would sign the reader in as somebody else. */
function withoutToken(address: URL): URL {
  if (address.origin === location.origin || /token=/i.test(address.hash)) address.hash = "";
  return address;
}

const marked = new Marked({
  gfm: true,
  breaks: false,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escaped(text),
    heading({ tokens, depth }: Tokens.Heading) {
      const level = Math.min(6, depth + 2); // below the headings of the page
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
    link({ href, title, tokens }: Tokens.Link) {
      const inner = this.parser.parseInline(tokens);
      const address = safeAddress(href);
      if (address === null) return inner;
      return `<a href="${escaped(address)}"${title ? ` title="${escaped(title)}"` : ""}>${inner}</a>`;
    },
    image({ href, text }: Tokens.Image) {
      const address = safeAddress(href);
      const name = `picture: ${text || "without a description"}`;
      return address === null ? escaped(name) : `<a href="${escaped(address)}">${escaped(name)}</a>`;
    },
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? "☑ " : "☐ "),
  },
});

const purify = DOMPurify(window);

const ALLOWED_TAGS = [
  ..."a b blockquote br code del div em h3 h4 h5 h6 hr i li ol p pre s span strong sub sup table tbody td th thead tr ul".split(" "),
];
const OPTIONS = {
  ALLOWED_TAGS,
  ALLOWED_ATTR: ["href", "title", "align", "start"],
  ADD_URI_SAFE_ATTR: ["align", "start"], // their values are no addresses, so the rule for addresses is not theirs
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: SAFE_LINK,
};

// After sanitising: what this page adds itself.
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow ugc");
  }
  if (node.tagName === "PRE" || node.tagName === "TABLE") node.setAttribute("tabindex", "0"); // it may scroll
});

export interface Block {
  /** The Markdown that it was made of. */
  raw: string;
  html: string;
}

/**
 * The text as blocks: paragraphs, lists, code. While a text grows only its last blocks change, and those in `before`
 * whose Markdown is the same are taken from there.
 */
export function blocks(text: string, before: readonly Block[] = []): Block[] {
  try {
    const found = rendered(text, before);
    // Definitions of links only: nothing of it would be seen.
    return found.length > 0 || text.trim() === "" ? found : asItIs(text);
  } catch {
    return asItIs(text); // some thousand levels of quotes or lists are too deep for the parser
  }
}

function asItIs(text: string): Block[] {
  return [{ raw: text, html: `<p class="markdown-plain">${text.replace(/&/g, "&amp;").replace(/</g, "&lt;")}</p>` }];
}

function rendered(text: string, before: readonly Block[]): Block[] {
  const tokens = marked.lexer(text);
  const links = JSON.stringify(tokens.links);
  const found: Block[] = [];
  for (const token of tokens) {
    if (token.type === "space" || token.type === "def") continue;
    const raw = `${token.raw}\u0000${links}`;
    const known = before[found.length];
    found.push(known?.raw === raw ? known : { raw, html: html([token]) });
  }
  return found;
}

function html(tokens: Token[]): string {
  return purify.sanitize(marked.parser(tokens), OPTIONS);
}

/** All of it at once. */
export function markdown(text: string): string {
  return blocks(text)
    .map((block) => block.html)
    .join("\n");
}
