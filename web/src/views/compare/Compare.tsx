export function Compare(_: { packageId: string | null }) {
  return <h1>Compare</h1>;
}
