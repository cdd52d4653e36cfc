import { ErrorNotice } from "../../components/ErrorNotice";
import { SignIn } from "../../components/SignIn";
import { isExpired, isSignedIn } from "../../session/token";
import { Conversation } from "./Conversation";
import { List } from "./List";
import * as store from "./store";
import "./conversations.css";

export function Conversations({ sessionId }: { sessionId: string | null }) {
  if (!isSignedIn.value) {
    return (
      <>
        <h1>Conversations</h1>
        <div class="notice">
          <p class="notice-title">{isExpired.value ? "Your sign-in has run out" : "Sign in to see your conversations"}</p>
          <SignIn />
        </div>
      </>
    );
  }
  return (
    <>
      {store.deleteError.value && (
        <ErrorNotice error={store.deleteError.value.error} onRetry={store.deleteError.value.retry} />
      )}
      {sessionId === null ? <List /> : <Conversation key={sessionId} id={sessionId} />}
    </>
  );
}
