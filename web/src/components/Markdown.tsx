import { Component } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Block } from "../lib/markdown";

type Renderer = typeof import("../lib/markdown");
let renderer: Renderer | null = null;
let loading: Promise<Renderer> | null = null;

/** Load the renderer ahead of the first text. A failure is not kept. */
export function loadMarkdown(): Promise<Renderer> {
  loading ??= import("../lib/markdown").then(
    (module) => (renderer = module),
    (error: unknown) => {
      loading = null;
      throw error;
    },
  );
  return loading;
}

/** Markdown of somebody else, also while it grows. Until the renderer is there, and without it, the text as it is. */
export function Markdown({ text }: { text: string }) {
  const [, loaded] = useState(renderer !== null);
  const before = useRef<Block[]>([]);
  useEffect(() => {
    if (renderer) return;
    let current = true;
    loadMarkdown().then(
      () => current && loaded(true),
      () => undefined,
    );
    return () => {
      current = false;
    };
  }, []);
  if (!renderer) return <div class="markdown markdown-plain">{text}</div>;
  before.current = renderer.blocks(text, before.current);
  return (
    <div class="markdown" dir="auto">
      {before.current.map((block, index) => (
        <Html key={index} html={block.html} />
      ))}
    </div>
  );
}

/** Stays in the document as it is while its HTML is the same: a selection in it survives new text below. */
class Html extends Component<{ html: string }> {
  override shouldComponentUpdate(next: { html: string }) {
    return next.html !== this.props.html;
  }

  override render() {
    return <div class="block" dangerouslySetInnerHTML={{ __html: this.props.html }} />;
  }
}
