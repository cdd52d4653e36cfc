import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { problemOf } from "../lib/errors";
import { duration } from "../lib/format";
import { links } from "../router";
import { SignIn } from "./SignIn";

interface Props {
  error: unknown;
  ofRun?: boolean;
  onRetry?: (() => void) | undefined;
  onShorten?: (() => void) | undefined;
  onNew?: (() => void) | undefined;
}

/** What went wrong and what to do about it. A retry waits as long as the API asks for. */
export function ErrorNotice({ error, ofRun, onRetry, onShorten, onNew }: Props) {
  const problem = problemOf(error, ofRun);
  const isWanted = error instanceof ApiError && error.code === "run_cancelled"; // the reader has stopped it
  const left = useCountdown(problem.waitSeconds ?? 0, error);
  return (
    <div class={isWanted ? "notice" : "notice notice-bad"} role={isWanted ? "status" : "alert"}>
      <p class="notice-title">{problem.title}</p>
      <p>{problem.text}</p>
      <div class="actions">
        {problem.steps.map((step) => {
          switch (step) {
            case "buy":
              return (
                <a key={step} class="button button-main" href={links.credits()}>
                  Buy credits
                </a>
              );
            case "plan":
              return (
                <a key={step} class="button button-main" href={links.subscription()}>
                  See PRPM+
                </a>
              );
            case "sign-in":
              return <SignIn key={step} />;
            case "shorten":
              return onShorten && <Button key={step} name="Shorten it" onClick={onShorten} />;
            case "retry":
              return (
                onRetry && (
                  <Button key={step} name={left > 0 ? `Try again in ${duration(left)}` : "Try again"} onClick={onRetry} disabled={left > 0} />
                )
              );
            case "new":
              return onNew && <Button key={step} name="Start anew" onClick={onNew} />;
            case "reload":
              return <Button key={step} name="Load again" onClick={() => location.reload()} />;
          }
        })}
      </div>
    </div>
  );
}

function Button({ name, onClick, disabled = false }: { name: string; onClick: () => void; disabled?: boolean }) {
  return (
    <button type="button" class="button" onClick={onClick} disabled={disabled}>
      {name}
    </button>
  );
}

function useCountdown(seconds: number, about: unknown): number {
  const [left, setLeft] = useState(seconds);
  useEffect(() => {
    setLeft(seconds);
    if (seconds <= 0) return;
    const end = Date.now() + seconds * 1000;
    const timer = setInterval(() => {
      const now = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      setLeft(now);
      if (now === 0) clearInterval(timer);
    }, 1000);
    return () => clearInterval(timer);
  }, [about]);
  return left;
}
