import { describe, expect, it } from "vitest";
import { ApiError, NetworkError } from "../../api/client";
import { MAX_PAGES, nextCursor, readCsv } from "./csv";

const page = (body: string, next: string | null = null) =>
  new Response(`seq,description\n${body}`, { headers: next === null ? {} : { Link: `<?limit=100&cursor=${next}>; rel="next"` } });

async function read(answers: (Response | Error)[]) {
  const asked: (string | null)[] = [];
  const progress: number[] = [];
  const waits: number[] = [];
  const get = (cursor: string | null) => {
    asked.push(cursor);
    const answer = answers.shift() ?? page("", null);
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  const csv = await readCsv(get, {
    signal: new AbortController().signal,
    onProgress: (lines) => progress.push(lines),
    sleep: (milliseconds) => Promise.resolve(void waits.push(milliseconds)),
  });
  return { ...csv, asked, progress, waits };
}

describe("the history as a file", () => {
  it("has all pages, and its heading once", async () => {
    const found = await read([page('3,"a\nb"\n2,x\n', "Mg"), page("1,y\n")]);
    expect(found.parts.join("")).toBe('seq,description\n3,"a\nb"\n2,x\n1,y\n');
    expect([found.asked, found.progress, found.lines]).toEqual([[null, "Mg"], [2, 3], 3]);
  });

  it("waits as long as it is asked to, and has no gap", async () => {
    const found = await read([page("3,a\n", "Mw"), new ApiError(429, "rate_limited", "…", {}, 7), page("2,b\n")]);
    expect([found.asked, found.waits, found.lines]).toEqual([[null, "Mw", "Mw"], [7000], 2]);
    await expect(read([page("3,a\n", "Mw"), new NetworkError("…")])).rejects.toBeInstanceOf(NetworkError);
    const busy = () => new ApiError(503, "store_unavailable", "…");
    await expect(read(Array.from({ length: 9 }, busy))).rejects.toBeInstanceOf(ApiError);
  });

  it("comes to an end", async () => {
    const same = await read(Array.from({ length: 9 }, () => page("1,a\n", "MQ")));
    expect(same.asked).toEqual([null, "MQ"]);
    const endless = await read(Array.from({ length: MAX_PAGES + 9 }, (_, at) => page("1,a\n", `c${at}`)));
    expect([endless.asked.length, endless.isCut]).toEqual([MAX_PAGES, true]);
  });

  it("follows links to the next page by their cursor only", () => {
    expect(nextCursor('<?limit=100&cursor=Mg>; rel="next"')).toBe("Mg");
    expect(nextCursor('</a?cursor=x>; rel="prev", <https://other.example/?type=spend&cursor=a%2Fb>; rel=next')).toBe("a/b");
    for (const link of [null, "", "x", '<?cursor=Mg>; rel="prev"', '<?limit=1>; rel="next"', '<?cursor=>; rel="next"']) expect(nextCursor(link)).toBeNull();
  });
});
