/** Server-sent events of a body, as the HTML standard parses them. */
export interface ServerEvent {
  event: string;
  data: string;
  /** The last id that was seen, of this event or an earlier one. */
  id: string | null;
}

/** Takes the text in any pieces, and gives the events that are complete. */
export class EventParser {
  private rest = "";
  private isFirst = true;
  private event = "";
  private data: string[] = [];
  private id: string | null = null;

  push(text: string): ServerEvent[] {
    if (this.isFirst && text !== "") {
      this.isFirst = false;
      text = text.replace(/^\uFEFF/, "");
    }
    this.rest += text;
    const found: ServerEvent[] = [];
    const ends = /\r\n|\n|\r/g;
    let from = 0;
    for (let end = ends.exec(this.rest); end !== null; end = ends.exec(this.rest)) {
      // A carriage return at the end of what has come may be half of a line's end.
      if (end[0] === "\r" && ends.lastIndex === this.rest.length) break;
      this.line(this.rest.slice(from, end.index), found);
      from = ends.lastIndex;
    }
    this.rest = this.rest.slice(from);
    return found;
  }

  private line(line: string, found: ServerEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) {
        found.push({ event: this.event || "message", data: this.data.join("\n"), id: this.id });
      }
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.id = value;
  }
}

/**
 * The events of a body until it ends; what is incomplete by then is dropped. A body that breaks, or is silent for too
 * long, raises.
 */
export async function* events(body: ReadableStream<Uint8Array>, maxSilenceMs: number): AsyncGenerator<ServerEvent> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await within(reader.read(), maxSilenceMs);
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function within<T>(reading: Promise<T>, milliseconds: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Nothing came for ${milliseconds} ms.`)), milliseconds);
  });
  return Promise.race([reading, late]).finally(() => clearTimeout(timer));
}
