import { useId, useState } from "preact/hooks";
import { site } from "../config";
import { signIn, subject } from "../session/token";

/** A token comes with the link that the registry, or `make run` on a laptop, gives; whoever has only the token can put it in here. */
export function SignIn() {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const id = useId();
  return (
    <form
      class="sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        const token = text.trim().replace(/^.*#token=/, "");
        if (!/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) {
          setProblem("This is not a token: it has three parts with dots between them.");
          return;
        }
        if (subject(token) === null) {
          setProblem("This is not a token of the playground: it does not say whose it is.");
          return;
        }
        setText("");
        signIn(token);
      }}
    >
      <p>
        {site.value.laptop ? (
          <>
            Open the link that <code>make run</code> has printed, or put in what <code>./playground token alice</code> prints.
          </>
        ) : (
          "Open the playground by the link from your registry, or put your token in here."
        )}{" "}
        It is kept in this tab only.
      </p>
      <label>
        Token
        <input
          type="password"
          name="token"
          autocomplete="off"
          spellcheck={false}
          value={text}
          aria-invalid={problem !== null}
          aria-describedby={problem === null ? undefined : id}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setProblem(null);
          }}
        />
      </label>
      <button type="submit" class="button button-main">
        Sign in
      </button>
      {problem && (
        <p class="problem" id={id} role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
