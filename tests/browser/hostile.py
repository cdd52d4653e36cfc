"""Markdown that would run, load, overlay or imitate something, written for these tests. `END` follows all of it, so
that a page that shows it has rendered everything."""

END = "the end of the corpus"
FOREIGN = "http://127.0.0.1:9/stolen"  # nothing listens there; a request to it is seen all the same

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<SCRIPT/src=//127.0.0.1:9/a.js></SCRIPT>",
    '<img src=x onerror="window.hacked = 1">',
    "<img/src/onerror=window.hacked=1>",
    "<svg onload=window.hacked=1><circle r=9 /></svg>",
    "<svg><script>window.hacked = 1</script></svg>",
    "<svg><animate onbegin=window.hacked=1 attributeName=x dur=1s></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=window.hacked=1&gt;'>",
    "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
    f"<iframe src='{FOREIGN}'></iframe>",
    f"<object data='{FOREIGN}'></object><embed src='{FOREIGN}'>",
    f"<form action='{FOREIGN}'><input name=password autofocus onfocus=window.hacked=1><button>Sign in</button></form>",
    f"<link rel=stylesheet href='{FOREIGN}.css'><style>body {{ display: none }}</style>",
    f"<meta http-equiv=refresh content='0;url={FOREIGN}'><base href='{FOREIGN}'>",
    "<a href='javascript:window.hacked=1'>click me</a>",
    "[click me](javascript:window.hacked=1)",
    "[click me](java\tscript:window.hacked=1)",
    "[click me](&#106;avascript:window.hacked=1)",
    "[click me](vbscript:msgbox)",
    "[click me](data:text/html;base64,PHNjcmlwdD53aW5kb3cuaGFja2VkPTE8L3NjcmlwdD4=)",
    "[reference][x]\n\n[x]: javascript:window.hacked=1 'title'",
    "<javascript:window.hacked=1>",
    f"![a picture of you]({FOREIGN}.png)",
    f"![x]({FOREIGN}.png 'onerror=window.hacked=1')",
    '![x" onerror="window.hacked=1](x)',
    '[x](https://example.invalid/" onmouseover="window.hacked=1)',
    "```js\n</code></pre><script>window.hacked = 1</script>\n```",
    '```"><img src=x onerror=window.hacked=1>\ntext\n```',
    "<div style='position:fixed;inset:0;background:#fff;z-index:99999'>Your session has ended. Sign in again.</div>",
    "<details ontoggle=window.hacked=1 open><summary>x</summary></details>",
    "<video><source onerror=window.hacked=1></video><audio src=x onerror=window.hacked=1>",
    "<input id=hacked name=cookie><form id=document><input name=querySelector></form>",
    "<button id=main onclick=window.hacked=1>Share</button>",
    "<template><script>window.hacked = 1</script></template><noscript><img src=x onerror=window.hacked=1></noscript>",
    "<a href='//127.0.0.1:9' target=_blank>x</a>",
    "{{constructor.constructor('window.hacked=1')()}}",
    "<p title='</p><script>window.hacked=1</script>'>x",
    "<x-element onclick=window.hacked=1 is='y'>x</x-element>",
)

TEXT = "\n\n".join((*HOSTILE, END))

# What is left of it in the page that must not be: run in the page, with its main element.
REMAINS = """
(main) => {
  const found = [];
  if (window.hacked === 1) found.push('something ran');
  else if (window.hacked) found.push('an id that hides a global');
  for (const element of main.querySelectorAll('*')) {
    const name = element.localName;
    if (element.matches('script, iframe, object, embed, link, meta, base, style, template, audio')) found.push(name);
    for (const { name: attribute, value } of element.attributes) {
      if (attribute.startsWith('on')) found.push(`${name}[${attribute}]`);
      if (['href', 'src', 'action', 'formaction', 'xlink:href', 'srcset', 'poster'].includes(attribute)) {
        const scheme = new URL(value, location.href).protocol;
        if (!['http:', 'https:', 'mailto:'].includes(scheme)) found.push(`${name}[${attribute}=${value}]`);
        if (name === 'img' && new URL(value, location.href).origin !== location.origin) found.push(`img ${value}`);
      }
    }
    if (element.closest('form[action]')) found.push('a form that is sent somewhere');
    if (getComputedStyle(element).position === 'fixed' && /has ended/.test(element.textContent)) found.push('overlay');
    if (name === 'a' && element.target === '_blank' && !element.relList.contains('noopener')) found.push('opener');
  }
  return found;
}
"""
