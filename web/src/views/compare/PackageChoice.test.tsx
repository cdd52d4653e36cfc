import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PackageChoice } from "./PackageChoice";

const place = document.body.appendChild(document.createElement("div"));
const json = (body: object) => Promise.resolve(new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json" } }));
const named = (name: string) => ({ id: `id-${name}`, name: `@a/${name}`, description: "" });
let chosen: string[];

beforeEach(() => {
  chosen = [];
  vi.stubGlobal("fetch", (url: string) => {
    if (url === "/config.json") return json({});
    return json({ packages: url.includes("q=sql") ? [named("sql")] : [named("first"), named("second")], next_cursor: null });
  });
});
afterEach(() => {
  render(null, place);
  vi.unstubAllGlobals();
});

const options = () => Array.from(place.querySelectorAll("[role=option] strong"), (each) => each.textContent);
const field = () => place.querySelector("input") as HTMLInputElement;
const press = (key: string) => act(() => void field().dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
const write = (text: string) =>
  act(() => {
    field().value = text;
    field().dispatchEvent(new Event("input", { bubbles: true }));
  });

describe("the choice of a package", () => {
  it("Enter does not choose from what was found for another text", async () => {
    await act(() => render(<PackageChoice label="Package of column 1" value="" onChoose={(id) => chosen.push(id)} />, place));
    await act(() => field().focus());
    await vi.waitFor(() => expect(options()).toEqual(["@a/first", "@a/second"]));
    await write("sql");
    await press("Enter"); // before it has been looked for
    expect(chosen).toEqual([]);
    await vi.waitFor(() => expect(options()).toEqual(["@a/sql"]));
    await press("Enter");
    expect(chosen).toEqual(["id-sql"]);
  });
});
