import { describe, expect, it } from "vitest";
import { EventParser, events, type ServerEvent } from "./sse";

const STREAM =
  "\uFEFF: hello\n\nevent: run\ndata: {\"a\": 1}\n\nevent: delta\r\nid: 6\r\ndata: Über \r\n\r\n" +
  "event: delta\rid: 8\rdata: 🙂x\r\r: still here\n\ndata: one\ndata:two\ndata\n\nid\nevent: none\n\nevent: done\ndata: {}\n\n";

const EXPECTED: ServerEvent[] = [
  { event: "run", data: '{"a": 1}', id: null },
  { event: "delta", data: "Über ", id: "6" },
  { event: "delta", data: "🙂x", id: "8" },
  { event: "message", data: "one\ntwo\n", id: "8" },
  { event: "done", data: "{}", id: "" },
];

function body(chunks: readonly Uint8Array[], broken = false): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks[at++];
      if (chunk) controller.enqueue(chunk);
      else if (broken) controller.error(new Error("reset"));
      else controller.close();
    },
  });
}

async function read(stream: ReadableStream<Uint8Array>): Promise<ServerEvent[]> {
  const found: ServerEvent[] = [];
  for await (const event of events(stream, 1000)) found.push(event);
  return found;
}

describe("server-sent events", () => {
  it("are the same wherever the bytes are cut, within characters and ends of lines too", async () => {
    const bytes = new TextEncoder().encode(STREAM);
    for (let size = 1; size <= 9; size += 1) {
      const chunks = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
      expect(await read(body(chunks))).toEqual(EXPECTED);
    }
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      expect(await read(body([bytes.slice(0, cut), bytes.slice(cut)]))).toEqual(EXPECTED);
    }
  });

  it("that are not complete are dropped", () => {
    const parser = new EventParser();
    expect(parser.push("event: done\ndata: {}\n")).toEqual([]);
    expect(parser.push("\n")).toHaveLength(1);
  });

  it("raise when the body breaks, after what came before", async () => {
    const found: ServerEvent[] = [];
    const reading = async () => {
      for await (const event of events(body([new TextEncoder().encode("data: 1\n\n")], true), 1000)) found.push(event);
    };
    await expect(reading()).rejects.toThrow("reset");
    expect(found).toHaveLength(1);
  });

  it("raise when nothing comes for too long", async () => {
    const silent = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => undefined) });
    await expect(async () => {
      for await (const _ of events(silent, 5));
    }).rejects.toThrow("Nothing came");
  });
});
