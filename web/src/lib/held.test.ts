import { expect, it } from "vitest";
import { ignoreHeldEnter } from "./held";

it("Enter acts once however long it is held, and goes on writing lines", () => {
  ignoreHeldEnter();
  document.body.innerHTML = "<form><input><textarea></textarea><button>Compare</button></form>";
  const heard: string[] = [];
  document.body.addEventListener("keydown", (event) => heard.push((event.target as Element).localName));
  const press = (on: string, of: KeyboardEventInit) =>
    document.querySelector(on)?.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...of }));

  for (const on of ["input", "button", "textarea"]) expect([on, press(on, {})]).toEqual([on, true]);
  expect(heard).toEqual(["input", "button", "textarea"]);
  // As often as the browser repeats it; what is prevented neither clicks a button nor submits a form.
  for (const on of ["input", "button"]) expect([on, press(on, { repeat: true })]).toEqual([on, false]);
  for (const held of ["ctrlKey", "metaKey"]) expect([held, press("textarea", { repeat: true, [held]: true })]).toEqual([held, false]);
  expect(heard).toHaveLength(3);
  expect(press("textarea", { repeat: true })).toBe(true);
  expect(press("textarea", { repeat: true, shiftKey: true })).toBe(true);
  expect(press("button", { repeat: true, key: "Tab" })).toBe(true);
  expect(heard).toHaveLength(6);
});
