import { batch } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";
import { OwnPrompt } from "../../components/OwnPrompt";
import { SignIn } from "../../components/SignIn";
import { count } from "../../lib/format";
import { filledIn } from "../../lib/variables";
import { isExpired, isSignedIn } from "../../session/token";
import type { Draft } from "./draft";
import { Options } from "./Options";
import { Price } from "./Price";
import * as store from "./store";
import { asksToSignIn, isTryOutOffered, TriedOut, TryOut } from "./TryOut";

/** What Run was pressed for before the page was loaded. */
interface Awaited {
  draft: Draft;
  packageId: string | null;
  sessionId: string | null;
}

/** Where the text is written, with what it is run with and what that costs. */
export function Composer({ field }: { field: RefObject<HTMLTextAreaElement | null> }) {
  const [problem, setProblem] = useState<string | null>(null);
  const [awaited, setAwaited] = useState<Awaited | null>(null);
  const packageId = store.packageId.value;
  const sessionId = store.sessionId.value;
  const request = store.request.value;
  const draft = store.draft.value;
  const length = store.inputLength.value;
  const isLong = length > store.MAX_INPUT_CHARACTERS;
  const excess = store.excess.value;
  const isRunning = store.live.value !== null;
  const goesOn = store.turns.value.length > 0 || store.shownRun.value !== null;
  useAutosize(field, draft.input);

  const run = () => {
    if (!isSignedIn.value) return complain("Sign in to run it.");
    if (isRunning) return complain("Wait until your other run has ended.");
    const lack = store.promptLack.peek();
    if (lack !== null) {
      document.getElementById("own-prompt")?.focus();
      return setProblem(lack);
    }
    if (!hasText()) return;
    const missing = store.missingVariables.value[0];
    if (missing !== undefined) {
      document.getElementById(`variable-${missing}`)?.focus();
      return setProblem(`Fill in “${missing}” first.`);
    }
    if (excess !== null) return document.getElementById("run-excess")?.focus();
    if (request === null) return waitUntilLoaded();
    setProblem(null);
    store.start();
  };
  const waitUntilLoaded = () => {
    setAwaited({ draft, packageId, sessionId });
    setProblem("It runs as soon as the page is loaded.");
    store.loadModels().catch(() => {
      setAwaited(null);
      setProblem("The models could not be loaded. Check your connection, then press Run again.");
    });
  };
  useEffect(() => {
    if (awaited === null) return;
    const isSame = awaited.draft === draft && awaited.packageId === packageId && awaited.sessionId === sessionId;
    if (isSame && request === null) return;
    setAwaited(null);
    setProblem(null);
    if (isSame) run(); // what was changed meanwhile is not what was asked for
  });
  const hasText = (): boolean => {
    setProblem(null);
    if (draft.input.trim() === "") complain("Write something first.");
    else if (isLong) field.current?.focus(); // why is said at the button
    else return true;
    return false;
  };
  const complain = (text: string) => {
    setProblem(text);
    field.current?.focus();
  };

  return (
    <>
      <TriedOut check={hasText} />
      <form
        class="composer"
        onSubmit={(event) => event.preventDefault()} // Enter in a small field must not spend credits
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
            event.preventDefault();
            run();
          }
        }}
      >
        {store.takesPrompt.value && (
          <OwnPrompt
            id="own-prompt"
            label="Your prompt"
            value={draft.prompt}
            onInput={(prompt) => {
              setProblem(null);
              store.change({ prompt });
            }}
          />
        )}
        {store.takesVariables.value && <Variables />}
        {!goesOn && <Suggestions key={store.details.value?.id} field={field} />}
        <label for="input">{goesOn ? "Continue" : "Your text"}</label>
        <textarea
          id="input"
          ref={field}
          dir="auto"
          rows={goesOn ? 2 : 5}
          value={draft.input}
          aria-invalid={isLong}
          aria-describedby="input-count input-problem"
          onInput={(event) => {
            setProblem(null);
            store.change({ input: event.currentTarget.value });
          }}
        />
        <p class="under-input">
          <span id="input-problem" class="problem" role="alert">
            {problem}
          </span>
          <span id="input-count" class={isLong ? "count problem" : "count"}>
            {count(length)} of {count(store.MAX_INPUT_CHARACTERS)} characters
          </span>
        </p>
        {(isSignedIn.value || isExpired.value) && <Options />}
        {isSignedIn.value ? (
          <div class="run-line">
            <button
              type="button"
              class="button button-main"
              onClick={run}
              aria-keyshortcuts="Control+Enter"
              aria-disabled={isRunning || excess !== null}
              aria-describedby={excess === null ? undefined : "run-excess"}
            >
              Run
            </button>
            {excess === null && <Price />}
            <p id="run-excess" class="price problem" tabIndex={-1}>
              {excess}
            </p>
          </div>
        ) : (
          <>
            {isTryOutOffered() && !asksToSignIn() && <TryOut check={hasText} />}
            {!asksToSignIn() && (
              <div class="notice">
                <p class="notice-title">{isExpired.value ? "Your sign-in has run out" : "Sign in to run it"}</p>
                <SignIn />
              </div>
            )}
          </>
        )}
      </form>
    </>
  );
}

function Variables() {
  const variables = store.details.value?.variables ?? [];
  if (variables.length === 0) return null;
  const given = store.setup.value.variables;
  return (
    <fieldset class="variables">
      <legend>Its variables</legend>
      {variables.map((each) => (
        <label key={each.name} class="field">
          <span>
            {each.name.replaceAll("_", " ")}
            {each.default === null && <span class="hint"> (needed)</span>}
          </span>
          <input
            id={`variable-${each.name}`}
            type="text"
            dir="auto"
            maxLength={5000}
            autocomplete="off"
            required={each.default === null}
            placeholder={each.default ?? ""}
            value={filledIn(given, each.name)}
            onInput={(event) =>
              store.changeSetup({ variables: { ...store.setup.peek().variables, [each.name]: event.currentTarget.value } })
            }
          />
        </label>
      ))}
    </fieldset>
  );
}

/** An example takes the place of what is written; that can be had back. */
function Suggestions({ field }: { field: RefObject<HTMLTextAreaElement | null> }) {
  const [replaced, setReplaced] = useState<{ input: string; variables: Record<string, string> } | null>(null);
  const examples = store.details.value?.examples ?? [];
  if (examples.length === 0) return null;
  const write = (input: string, variables: Record<string, string>) => {
    batch(() => {
      store.change({ input });
      store.changeSetup({ variables: { ...variables } });
    });
    field.current?.focus();
  };
  return (
    <div class="suggestions" role="group" aria-label="Suggested inputs">
      <span class="hint">Try it with:</span>
      {examples.map((each) => (
        <button
          key={each.title}
          type="button"
          class="button button-quiet chip"
          onClick={() => {
            const { input } = store.draft.peek();
            const { variables } = store.setup.peek();
            const isOwn = !examples.some((other) => other.input === input);
            const isWritten = input.trim() !== "" || Object.values(variables).some((text) => text !== "");
            if (isOwn && isWritten) setReplaced({ input, variables });
            write(each.input, each.variables ?? {});
          }}
        >
          {each.title}
        </button>
      ))}
      {replaced !== null && (
        <button
          type="button"
          class="link"
          onClick={() => {
            write(replaced.input, replaced.variables);
            setReplaced(null);
          }}
        >
          Put back what you had written
        </button>
      )}
    </div>
  );
}

/** As high as what is written, where the style sheet cannot do it by itself. */
function useAutosize(field: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useEffect(() => {
    const area = field.current;
    if (!area || CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
  }, [text]);
}
