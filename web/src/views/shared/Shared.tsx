export function Shared(_: { token: string }) {
  return <h1>Shared conversation</h1>;
}
