export function Try(_: { packageId: string | null; sessionId: string | null }) {
  return <h1>Try a package</h1>;
}
