/** What is filled in for a variable. Any name may be one, also "constructor", which every object inherits. */
export function filledIn(values: Readonly<Record<string, string>>, name: string): string {
  return (Object.hasOwn(values, name) && values[name]) || "";
}
