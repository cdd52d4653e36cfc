import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, expect, it } from "vitest";
import { bearer, refuse, signIn } from "../session/token";
import { SignIn } from "./SignIn";

const token = (claims: object, signature = "c2ln") => `e30.${btoa(JSON.stringify(claims)).replace(/=+$/, "")}.${signature}`;
const place = document.createElement("div");
document.body.append(place);
afterEach(() => sessionStorage.clear());

async function put(text: string) {
  const input = place.querySelector("input") as HTMLInputElement;
  await act(() => {
    input.value = text;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await act(() => void place.querySelector("form")?.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true })));
}

it("what is no token of anybody signs nobody in, and removes nothing of who was here", async () => {
  signIn(token({ sub: "alice" }));
  refuse(bearer() as string);
  sessionStorage.setItem("playground.draft", '"alice\'s"');
  await act(() => render(<SignIn />, place));
  for (const wrong of ["abc", "aaa.bbb.ccc", token({}), token({ name: "x" })]) {
    await put(wrong);
    expect([wrong, bearer(), place.querySelector("[role=alert]")?.textContent]).toEqual([wrong, null, expect.stringContaining("This is not a token")]);
  }
  expect(sessionStorage.getItem("playground.draft")).toBe('"alice\'s"');
  await put(`http://127.0.0.1:3000/#token=${token({ sub: "alice" }, "bmV3")}`);
  expect(bearer()).toBe(token({ sub: "alice" }, "bmV3"));
  expect(sessionStorage.getItem("playground.draft")).toBe('"alice\'s"');
});
