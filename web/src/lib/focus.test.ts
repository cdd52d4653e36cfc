import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keepFocus } from "./focus";

let stop: () => void;

/** What the observer has seen, and the time that it leaves to the views. */
async function settle(): Promise<void> {
  await Promise.resolve();
  await vi.advanceTimersByTimeAsync(200);
}

const get = (id: string) => document.getElementById(id) as HTMLElement;
const focused = () => document.activeElement?.id;

describe("the focus", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    document.body.innerHTML = `
      <nav><a href="/" id="home">Home</a></nav>
      <main id="main" tabindex="-1">
        <ul>
          ${[1, 2, 3].map((n) => `<li id="row-${n}"><a href="/${n}" id="title-${n}">t</a><button id="delete-${n}">x</button></li>`).join("")}
        </ul>
        <p><button id="go">Go</button> <button id="stop">Stop</button></p>
      </main>
      <div id="undo"><p id="undo-1"><button id="undo-button-1">Undo</button></p><p><button id="undo-button-2">Undo</button></p></div>`;
    stop = keepFocus();
  });
  afterEach(() => {
    stop();
    vi.useRealTimers();
    document.body.innerHTML = "";
  });

  it("goes from a row that is deleted to the next one, and from the last one to the one before", async () => {
    get("delete-2").focus();
    get("row-2").remove();
    await settle();
    expect(focused()).toBe("title-3");
    get("delete-3").focus();
    get("row-3").remove();
    await settle();
    expect(focused()).toBe("title-1");
  });

  it("goes from a control that is done with to its neighbour, and out of a list without rows", async () => {
    get("stop").focus();
    get("stop").remove();
    await settle();
    expect(focused()).toBe("go");
    get("delete-1").focus();
    for (const n of [1, 2, 3]) get(`row-${n}`).remove();
    await settle();
    expect(focused()).toBe("go");
  });

  it("goes to what took the place of a control and all its neighbours", async () => {
    get("stop").focus();
    const place = get("stop").parentElement as HTMLElement;
    place.innerHTML = `<span>Done</span><a href="/x" id="link">The link</a>`;
    await settle();
    expect(focused()).toBe("link");
  });

  it("goes to the content when nothing near is left", async () => {
    get("undo-button-1").focus();
    get("undo-1").remove();
    await settle();
    expect(focused()).toBe("undo-button-2");
    get("undo").remove();
    await settle();
    expect(focused()).toBe("main");
  });

  it("comes back to a control that was disabled for a while", async () => {
    get("go").focus();
    get("go").blur(); // browsers do that by themselves
    get("go").setAttribute("disabled", "");
    await settle();
    expect(document.activeElement).toBe(document.body);
    get("go").removeAttribute("disabled");
    await settle();
    expect(focused()).toBe("go");
    get("go").blur();
    get("go").setAttribute("disabled", "");
    await Promise.resolve();
    get("go").removeAttribute("disabled"); // before anybody has looked
    await settle();
    expect(focused()).toBe("go");
    get("go").blur();
    get("row-1").remove();
    await settle();
    get("go").setAttribute("disabled", "");
    get("go").remove(); // done with, after it was disabled
    await settle();
    expect(focused()).toBe("stop");
  });

  it("is left alone where a view or a click has moved it", async () => {
    get("delete-2").focus();
    get("row-2").remove();
    get("home").focus();
    await settle();
    expect(focused()).toBe("home");
    get("home").blur();
    document.dispatchEvent(new Event("pointerdown"));
    get("row-1").remove();
    await settle();
    expect(document.activeElement).toBe(document.body);
  });
});
