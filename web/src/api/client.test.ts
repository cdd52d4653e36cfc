import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { ApiError, NetworkError, open } from "./client";

let answer: Response;

beforeEach(() => {
  sessionStorage.clear();
  vi.stubGlobal("fetch", async (url: string) => (url === "/config.json" ? new Response("{}") : answer));
});
afterEach(() => vi.unstubAllGlobals());

/** An answer with this status, whose body breaks off. */
function cut(status: number): Response {
  const pieces = ['{"error": "run_in_pro'];
  return new Response(
    new ReadableStream({
      pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) controller.error(new TypeError("terminated"));
        else controller.enqueue(new TextEncoder().encode(piece));
      },
    }),
    { status },
  );
}

const asked = () => open("get", "/playground/credits").catch((error: unknown) => error);

it("an error that breaks off on its way is a connection that broke: what the API has said is not known", async () => {
  for (const status of [402, 409, 503]) {
    answer = cut(status);
    expect([status, await asked()]).toEqual([status, expect.any(NetworkError)]);
  }
  answer = cut(401); // says all by its status
  expect(await asked()).toMatchObject({ status: 401 });
});

it("an error of what stands between has a status and no code", async () => {
  answer = new Response("<html>Bad gateway</html>", { status: 502 });
  expect(await asked()).toMatchObject({ status: 502, code: "unknown" });
  answer = new Response(JSON.stringify({ error: "rate_limited", message: "…" }), { status: 429, headers: { "Retry-After": "7" } });
  const error = await asked();
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({ status: 429, code: "rate_limited", retryAfter: 7 });
});
