import { beforeEach, describe, expect, it, vi } from "vitest";

const token = (sub: string) => `${btoa('{"alg":"HS256"}')}.${btoa(JSON.stringify({ sub })).replace(/=+$/, "")}.c2ln`;

// One window of the tests has many pages one after the other: each takes its listeners with it.
let leave: (() => void)[] = [];
const listen = window.addEventListener.bind(window);
window.addEventListener = (type: string, listener: EventListenerOrEventListenerObject) => {
  listen(type, listener);
  leave.push(() => window.removeEventListener(type, listener));
};

/** The module as a page that is loaded at this address has it. */
async function load(address: string) {
  for (const each of leave) each();
  leave = [];
  history.replaceState(null, "", address);
  vi.resetModules();
  return import("./token");
}

beforeEach(() => sessionStorage.clear());

describe("a token in the address", () => {
  it("is taken out of it at once, and nothing else is", async () => {
    const { bearer, isSignedIn } = await load(`/conversations?q=1#token=${token("alice")}`);
    expect(location.href).toMatch(/\/conversations\?q=1$/);
    expect(bearer()).toBe(token("alice"));
    expect(isSignedIn.value).toBe(true);
    await load(`/#a&token=${token("alice")}&b`);
    expect(location.hash).toBe("#a&b");
  });

  it("is kept for the tab, not for others", async () => {
    await load(`/#token=${token("alice")}`);
    expect((await load("/")).bearer()).toBe(token("alice"));
    expect(JSON.stringify({ ...localStorage })).toBe("{}");
    expect(document.cookie).toBe("");
  });

  it("that comes while the page is open is taken, too", async () => {
    const { bearer } = await load(`/#token=${token("alice")}`);
    location.hash = `#token=${token("alice")}2`;
    await vi.waitFor(() => expect(bearer()).toBe(`${token("alice")}2`));
    expect(location.hash).toBe("");
  });

  it("of somebody else forgets what was written before", async () => {
    await load(`/#token=${token("alice")}`);
    sessionStorage.setItem("playground.draft", '"alice\'s"');
    const again = await load(`/#token=${token("alice")}`);
    expect(sessionStorage.getItem("playground.draft")).not.toBeNull();
    again.refuse(token("alice"));
    await load(`/#token=${token("bob")}`);
    expect(sessionStorage.getItem("playground.draft")).toBeNull();
  });

  it("that is refused is forgotten, unless a newer one has come", async () => {
    const { bearer, refuse, isExpired, signIn } = await load(`/#token=${token("alice")}`);
    signIn(`${token("alice")}2`);
    refuse(token("alice"));
    expect(bearer()).toBe(`${token("alice")}2`);
    refuse(`${token("alice")}2`);
    expect(bearer()).toBeNull();
    expect(isExpired.value).toBe(true);
    expect(sessionStorage.getItem("playground.token")).toBeNull();
  });
});

describe("its parts", () => {
  it("fragments", async () => {
    const { readFragment } = await load("/");
    expect(readFragment("#token=a.b.c")).toEqual({ token: "a.b.c", rest: "" });
    expect(readFragment("#x=1&token=&y")).toEqual({ token: null, rest: "#x=1&y" });
    expect(readFragment("")).toEqual({ token: null, rest: "" });
  });

  it("whose it is", async () => {
    const { subject } = await load("/");
    expect(subject(token("alice"))).toBe("alice");
    for (const bad of ["", "a", "a.b.c", "a.e30.c", `a.${btoa("[]")}.c`]) expect(subject(bad)).toBeNull();
  });
});
