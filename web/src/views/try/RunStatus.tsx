import { problemOf } from "../../lib/errors";
import { route } from "../../router";
import { isSignedIn } from "../../session/token";
import * as store from "./store";

/** A run goes on while something else is shown: where it is, and that it has ended. */
export function RunStatus() {
  const run = store.live.value;
  const isTry = route.value.view === "try";
  if (run !== null && !(isTry && store.shownRun.value !== null)) {
    return (
      <p class="notice run-status">
        {run.state === "lost" ? "The connection to your last run was lost." : "Claude is answering your last run."} <a href={store.placeOf(run.body)}>Show it</a>
      </p>
    );
  }
  if (store.isUnread.value && !isSignedIn.value) {
    return (
      <p class="notice run-status" role="status">
        Your last run may go on without you, and is charged once. Sign in again to read its answer.
      </p>
    );
  }
  const ended = store.endedElsewhere.value;
  if (ended === null) return null;
  return (
    <p class="notice run-status" role="status">
      {ended.error === null ? "The answer of your last run is complete." : `Your last run has failed: ${problemOf(ended.error).title}.`}{" "}
      <a href={ended.to} onClick={() => ended.error === null && store.dismissEnded()}>
        {ended.error === null ? "Read it" : "Back to it"}
      </a>{" "}
      <button type="button" class="link" onClick={store.dismissEnded}>
        Dismiss
      </button>
    </p>
  );
}
