export function Credits(_: { section: "credits" | "subscription" }) {
  return <h1>Credits</h1>;
}
