import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { signIn } from "../../session/token";
import { UNDO_MS } from "../../components/undo";
import * as store from "./store";

const token = (number: number) => `e30.${btoa(JSON.stringify({ sub: "alice", number })).replace(/=+$/, "")}.c2ln`;
const about = (id: string) => ({ session_id: id, title: id, package: null });
let accepted = ""; // the token that the API takes
let deleted: string[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  deleted = [];
  vi.stubGlobal("fetch", async (url: string, init: RequestInit = {}) => {
    if (new Headers(init.headers).get("Authorization") !== `Bearer ${accepted}`) return new Response('{"error": "unauthorized"}', { status: 401 });
    if (init.method === "DELETE") deleted.push(url.replace(/.*\//, ""));
    return new Response("{}");
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("what was to be deleted when the sign-in had run out is deleted after the next one", async () => {
  signIn(token(1));
  accepted = token(2);
  store.remove(about("ses_1"));
  store.remove(about("ses_2"));
  await vi.advanceTimersByTimeAsync(UNDO_MS + 1_000);
  expect(deleted).toEqual([]);
  expect(store.deleteError.value?.error).toMatchObject({ status: 401 });
  signIn(token(2));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(deleted.sort()).toEqual(["ses_1", "ses_2"]);
  expect(store.deleteError.value).toBeNull();
});
