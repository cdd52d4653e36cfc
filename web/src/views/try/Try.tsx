import { useEffect, useRef } from "preact/hooks";
import { ErrorNotice } from "../../components/ErrorNotice";
import { SignIn } from "../../components/SignIn";
import { Thread } from "../../components/Thread";
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
}

export function Try({ packageId, sessionId }: Props) {
  const signedIn = isSignedIn.value;
  useEffect(() => {
    store.place.value = { packageId, sessionId };
    const shown = load(packageId, sessionId);
    store.loadModels().catch(() => undefined);
    // After the conversation is there: what a resumed run says belongs to it.
    if (signedIn) void shown.then(store.resume);
  }, [packageId, sessionId, signedIn]);
  if (packageId === null && sessionId === null) return <Picker />;
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
  return <Workbench wanted={sessionId ?? packageId ?? ""} reload={() => void load(packageId, sessionId)} />;
}

async function load(packageId: string | null, sessionId: string | null): Promise<void> {
  if (sessionId !== null) {
    // Signed out meanwhile: what is shown stays.
    if (isSignedIn.peek()) await store.showSession(sessionId);
  } else if (packageId !== null) await store.showPackage(packageId);
  else store.chooseNone();
}

function anew(): void {
  const wanted = store.packageId.peek();
  navigate(links.try({ packageId: wanted }));
}

function Workbench({ wanted, reload }: { wanted: string; reload: () => void }) {
  const error = store.loadError.value;
  const input = useRef<HTMLTextAreaElement>(null);
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // What was chosen in a list: the list is gone, so the focus goes to what took its place.
    if (hasNavigated && document.activeElement === document.body) head.current?.focus({ preventScroll: true });
  }, [wanted]);
  if (error !== null) {
    return (
      <>
        <h1>Try a package</h1>
        <ErrorNotice error={error} onRetry={reload} onNew={() => navigate("/")} />
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
          <ErrorNotice error={store.runError.value} onRetry={store.start} onShorten={shorten} onNew={anew} />
        )}
        <Composer field={input} />
      </section>
    </div>
  );
}
