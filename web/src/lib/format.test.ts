import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { day, duration, modelName, moment, recently, utcDay } from "./format";

// Node reads TZ anew when it is set.
const inZone = (zone: string) => vi.stubEnv("TZ", zone);
beforeEach(() => inZone("UTC"));
afterEach(() => vi.unstubAllEnvs());

const now = new Date("2026-03-01T00:10:00Z");

describe("times", () => {
  it("of another year say so", () => {
    expect(moment("2026-02-03T14:05:00Z", now)).toBe("3 Feb, 14:05");
    expect(moment("2025-12-31T23:59:00Z", now)).toBe("31 Dec 2025, 23:59");
    expect(moment("2027-01-01T00:00:00Z", now)).toBe("1 Jan 2027, 00:00");
  });

  it("near midnight belong to the reader's day", () => {
    expect(recently("2026-03-01T00:00:00Z", now)).toBe("today, 00:00");
    expect(recently("2026-02-28T23:59:59Z", now)).toBe("yesterday, 23:59");
    expect(recently("2026-02-27T23:59:59Z", now)).toBe("27 Feb, 23:59");
    inZone("America/New_York"); // it is the evening of 28 February
    expect(recently("2026-02-28T23:59:59Z", now)).toBe("today, 18:59");
    expect(recently("2026-02-28T04:59:59Z", now)).toBe("yesterday, 23:59");
    expect(moment("2026-01-01T03:00:00Z", now)).toBe("31 Dec 2025, 22:00");
  });

  it("of days on which clocks change are of one day", () => {
    inZone("Europe/Berlin"); // 29 March 2026 has 23 hours
    const then = new Date("2026-03-29T22:30:00Z"); // 00:30 on the 30th
    expect(recently("2026-03-28T23:30:00Z", then)).toBe("yesterday, 00:30");
    expect(recently("2026-03-28T22:30:00Z", then)).toBe("28 Mar, 23:30");
  });

  it("a little ahead of the reader's clock are of today", () => {
    expect(recently("2026-03-01T00:11:00Z", now)).toBe("today, 00:11");
    expect(recently("2026-03-02T00:11:00Z", now)).toBe("2 Mar, 00:11");
  });

  it("are written the same whatever the language of the browser", () => {
    const language = vi.spyOn(navigator, "language", "get").mockReturnValue("ar-EG");
    expect(day("2026-11-28T12:00:00Z")).toBe("28 Nov 2026");
    expect(moment("2026-11-28T12:00:00Z", now)).toBe("28 Nov, 12:00");
    language.mockRestore();
  });

  it("that are days in UTC stay on their day", () => {
    for (const zone of ["Pacific/Honolulu", "UTC", "Pacific/Kiritimati"]) {
      inZone(zone);
      expect(utcDay("2026-12-01")).toBe("1 Dec 2026");
    }
  });

  it("that are none are shown as they came", () => {
    for (const write of [day, utcDay, moment, recently]) expect(write("soon")).toBe("soon");
  });

  it("durations are never shorter than they are", () => {
    expect([duration(48 * 3600), duration(48.5 * 3600), duration(72 * 3600 + 1)]).toEqual(["2 days", "3 days", "4 days"]);
    expect([duration(Number.NaN), duration(-5)]).toEqual(["0 s", "0 s"]);
  });
});

it("models have one name each", () => {
  expect(["haiku", "sonnet", "opus", "later-one", "constructor"].map(modelName)).toEqual(["Haiku", "Sonnet", "Opus", "later-one", "constructor"]);
});
