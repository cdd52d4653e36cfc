export function Conversations(_: { sessionId: string | null }) {
  return <h1>Conversations</h1>;
}
