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

beforeEach(() => {
  vi.resetModules();
  sessionStorage.clear();
  document.body.hidden = false;
});

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

  it("of the same person after a refusal keeps what was written", async () => {
    const { refuse } = await load(`/#token=${token("alice")}`);
    sessionStorage.setItem("playground.draft", '"alice\'s"');
    refuse(token("alice"));
    const again = await load(`/#token=${token("alice")}`);
    expect(again.offer.value).toBeNull();
    expect(again.account.value).toBe("alice");
    expect(sessionStorage.getItem("playground.draft")).not.toBeNull();
  });

  it("of somebody else is not taken before the reader has agreed, whether it is there at first or comes later", async () => {
    await load(`/#token=${token("alice")}`);
    sessionStorage.setItem("playground.draft", '"alice\'s"');
    const page = await load(`/conversations#token=${token("mallory")}`);
    expect(location.hash).toBe("");
    expect(page.bearer()).toBe(token("alice"));
    expect(page.offer.value).toEqual({ name: "mallory", present: "alice" });
    page.declineOffer();
    expect([page.offer.value, page.bearer()]).toEqual([null, token("alice")]);

    location.hash = `#token=${token("mallory")}`;
    await vi.waitFor(() => expect(page.offer.value?.name).toBe("mallory"));
    expect(page.bearer()).toBe(token("alice"));
    page.acceptOffer();
    expect(sessionStorage.getItem("playground.draft")).toBeNull();
    expect((await load("/")).account.value).toBe("mallory");
  });

  it("of somebody else is asked about, too, when the one before has run out", async () => {
    const { refuse } = await load(`/#token=${token("alice")}`);
    refuse(token("alice"));
    const page = await load(`/#token=${token("bob")}`);
    expect(page.isSignedIn.value).toBe(false);
    expect(page.offer.value).toEqual({ name: "bob", present: "alice" });
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

describe("a page that is left", () => {
  // jsdom goes nowhere: what is looked at is the page while the browser waits for the next one.
  const shown = () => !document.body.hidden;

  it("shows nothing of whoever has signed out, however long the next one takes", async () => {
    const { signOut } = await load(`/#token=${token("alice")}`);
    expect(shown()).toBe(true);
    signOut();
    expect(shown()).toBe(false);
    expect(sessionStorage.length).toBe(0);
  });

  it("shows nothing of the one before when somebody else signs in", async () => {
    const { refuse, signIn } = await load(`/#token=${token("alice")}`);
    refuse(token("alice"));
    signIn(token("bob"));
    expect(shown()).toBe(false);

    const page = await load(`/#token=${token("carol")}`);
    document.body.hidden = false;
    page.acceptOffer();
    expect(shown()).toBe(false);
  });

  it("comes back from the browser's memory without what it showed", async () => {
    await load(`/#token=${token("alice")}`);
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
    expect(shown()).toBe(false);
  });

  it("leaves to the next one what it was about to do: that its requests have broken off is no outcome", async () => {
    await load(`/#token=${token("alice")}`);
    const { writeTab } = await import("./tab");
    writeTab("run", { key: "1" });
    dispatchEvent(new PageTransitionEvent("pagehide"));
    writeTab("run", null);
    expect(sessionStorage.getItem("playground.run")).toBe('{"key":"1"}');
  });
});

describe("what the tab keeps", () => {
  it("is never an older value than the last that was written", async () => {
    const { readTab, writeTab } = await import("./tab");
    writeTab("run", { key: "1" });
    const full = vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    writeTab("run", { key: "2" });
    full.mockRestore();
    expect(readTab("run")).toEqual({ key: "2" });
    expect(sessionStorage.getItem("playground.run")).toBeNull();
    writeTab("run", null);
    expect(readTab("run")).toBeNull();
  });
});

describe("what Stripe's page leads back with", () => {
  const back = async (address: string) => {
    history.replaceState(null, "", address);
    vi.resetModules();
    return (await import("./returned")).returned.value;
  };
  it("is taken out of the address at once, and nothing else is", async () => {
    const sent = "payment_intent=pi_1&payment_intent_client_secret=pi_1_secret_2&redirect_status=failed";
    expect(await back(`/playground/credits?a=1&${sent}`)).toBe("failed");
    expect(location.pathname + location.search).toBe("/playground/credits?a=1");
    expect(await back("/playground/subscription?checkout=success")).toBe("success");
    expect(location.search).toBe("");
    expect(await back("/?package=x")).toBeNull();
    expect(location.search).toBe("?package=x");
  });
});

describe("its parts", () => {
  it("fragments", async () => {
    const { readFragment } = await load("/");
    expect(readFragment("#token=a.b.c")).toEqual({ token: "a.b.c", rest: "" });
    expect(readFragment("#x=1&token=&y")).toEqual({ token: null, rest: "#x=1&y" });
    expect(readFragment("")).toEqual({ token: null, rest: "" });
  });

  it("whom to call it", async () => {
    const { nameIn } = await load("/");
    const claims = (values: object) => `e30.${btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(values))))}.c2ln`;
    expect(nameIn(claims({ sub: "u1", email: "zoë@example.com" }))).toBe("zoë@example.com");
    expect(nameIn(claims({ user_id: "u1" }))).toBe("u1");
    expect(nameIn("x")).toBeNull();
    const { shownName } = await import("../components/Account");
    expect(shownName("ali\u202Ece\u200B")).toBe("alice");
    expect(shownName("\u200B")).toBe("somebody else");
    expect(shownName("a".repeat(99))).toHaveLength(60);
  });

  it("whose it is", async () => {
    const { subject } = await load("/");
    expect(subject(token("alice"))).toBe("alice");
    expect(subject(token("").replace(/\.[^.]*\./, `.${btoa('{"user_id":"bob"}')}.`))).toBe("bob");
    for (const bad of ["", "a", "a.b.c", "a.e30.c", `a.${btoa("[]")}.c`]) expect(subject(bad)).toBeNull();
  });
});
