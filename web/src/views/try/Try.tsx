import { useEffect, useRef } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { Question } from "../../components/Question";
import { SignIn } from "../../components/SignIn";
import { Thread } from "../../components/Thread";
import { loadPromptInfo } from "../../lib/prompts";
import { hasNavigated, links, navigate } from "../../router";
import { isExpired, isSignedIn } from "../../session/token";
import { Answer } from "./Answer";
import { Composer } from "./Composer";
import { PackageHead } from "./PackageHead";
import { Picker } from "./Picker";
import * as store from "./store";
import "./try.css";

interface Props {
  packageId: string | null;
  sessionId: string | null;
  /** A prompt of the reader's own in place of a package. */
  isOwn: boolean;
}

export function Try({ packageId, sessionId, isOwn }: Props) {
  const signedIn = isSignedIn.value;
  useEffect(() => {
    store.place.value = { packageId, sessionId, isOwn };
    const shown = load({ packageId, sessionId, isOwn });
    store.loadModels().catch(() => undefined);
    void loadPromptInfo();
    // After the conversation is there: what a resumed run says belongs to it.
    if (signedIn) void shown.then(store.resume);
  }, [packageId, sessionId, isOwn, signedIn]);
  if (packageId === null && sessionId === null && !isOwn) return <Picker />;
  if (sessionId !== null && !signedIn && store.sessionId.value !== sessionId) {
    return (
      <>
        <h1>Conversation</h1>
        <div class="notice">
          <p class="notice-title">{isExpired.value ? "Your sign-in has run out" : "Sign in to see your conversation"}</p>
          <SignIn />
        </div>
      </>
    );
  }
  return <Workbench wanted={sessionId ?? packageId ?? ""} reload={() => void load({ packageId, sessionId, isOwn })} />;
}

async function load({ packageId, sessionId, isOwn }: Props): Promise<void> {
  if (sessionId !== null) {
    // Signed out meanwhile: what is shown stays.
    if (isSignedIn.peek()) await store.showSession(sessionId);
  } else if (packageId !== null) await store.showPackage(packageId);
  else if (isOwn) store.showOwn();
  else store.chooseNone();
}

function anew(): void {
  navigate(links.try(store.runsOwnPrompt.peek() ? { isOwn: true } : { packageId: store.packageId.peek() }));
}

function Workbench({ wanted, reload }: { wanted: string; reload: () => void }) {
  const error = store.loadError.value;
  const input = useRef<HTMLTextAreaElement>(null);
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // What was chosen in a list: the list is gone, so the focus goes to what took its place.
    if (hasNavigated && document.activeElement === document.body) head.current?.focus({ preventScroll: true });
  }, [wanted]);
  const isLoading = store.loadingSession.value !== null;
  useEffect(() => {
    // Who goes on with a conversation writes at its end. A run that has begun one is still being read.
    if (isLoading || !hasNavigated || store.session.peek()?.session_id !== wanted || store.live.peek() !== null) return;
    requestAnimationFrame(() => {
      input.current?.focus({ preventScroll: true }); // after another view has given it to `main`
      input.current?.scrollIntoView({ block: "center" });
    });
  }, [isLoading]); // not by `wanted`: the address of a package becomes that of its conversation
  if (error !== null) {
    return (
      <>
        <h1>Try a package</h1>
        <ErrorNotice error={error} onRetry={reload} onNew={() => navigate("/")} />
      </>
    );
  }
  if (isLoading) {
    return (
      <>
        <h1 ref={head} tabIndex={-1}>
          Conversation
        </h1>
        <p class="loading">Loading…</p>
      </>
    );
  }
  const shorten = () => {
    input.current?.focus();
    input.current?.select();
  };
  return (
    <div class="workbench">
      <PackageHead heading={head} />
      <section class="talk" aria-label="Conversation">
        <Thread turns={store.turns.value} />
        {store.shownRun.value && <Answer run={store.shownRun.value} />}
        {store.runError.value !== null && (
          <>
            <FailedText />
            <ErrorNotice ofRun error={store.runError.value} onRetry={store.retry} onShorten={shorten} onNew={anew} />
          </>
        )}
        <Composer field={input} />
      </section>
    </div>
  );
}

/** What a run that failed was asked, where something else is written by now. */
function FailedText() {
  const text = store.failedRun.value?.input ?? null;
  if (text === null || text === store.draft.value.input) return null;
  return (
    <article class="turn" aria-label="What was not answered">
      <Question text={text} />
    </article>
  );
}
