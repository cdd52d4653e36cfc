import { useEffect } from "preact/hooks";
import { lazy } from "./components/lazy";
import { links, route, type Route } from "./router";
import { isSignedIn, signOut } from "./session/token";
import { Try } from "./views/try/Try";

const Compare = lazy(() => import("./views/compare/Compare").then((module) => module.Compare));
const Conversations = lazy(() => import("./views/conversations/Conversations").then((module) => module.Conversations));
const Credits = lazy(() => import("./views/credits/Credits").then((module) => module.Credits));
const Shared = lazy(() => import("./views/shared/Shared").then((module) => module.Shared));

const TITLES: Readonly<Record<Route["view"], string>> = {
  try: "Try a package",
  compare: "Compare",
  conversations: "Conversations",
  credits: "Credits",
  shared: "Shared conversation",
  unknown: "Page not found",
};

const NAVIGATION = [
  { view: "try", name: "Try", to: links.try() },
  { view: "compare", name: "Compare", to: links.compare() },
  { view: "conversations", name: "Conversations", to: links.conversations() },
  { view: "credits", name: "Credits", to: links.credits() },
] as const;

export function App() {
  const { view } = route.value;
  useEffect(() => {
    document.title = `${TITLES[view]} · PRPM+ Playground`;
  }, [view]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="/">
          PRPM+ <span>Playground</span>
        </a>
        <nav aria-label="Main">
          <ul>
            {NAVIGATION.map((item) => (
              <li key={item.view}>
                <a href={item.to} aria-current={item.view === view ? "page" : undefined}>
                  {item.name}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="who">
          {isSignedIn.value && (
            <button type="button" class="button button-quiet" onClick={signOut}>
              Sign out
            </button>
          )}
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <View />
      </main>
    </>
  );
}

function View() {
  const current = route.value;
  switch (current.view) {
    case "try":
      return <Try packageId={current.packageId} sessionId={current.sessionId} />;
    case "compare":
      return <Compare packageId={current.packageId} />;
    case "conversations":
      return <Conversations sessionId={current.sessionId} />;
    case "credits":
      return <Credits section={current.section} />;
    case "shared":
      return <Shared key={current.token} token={current.token} />;
    case "unknown":
      return (
        <section>
          <h1>There is no such page</h1>
          <p>
            <a href="/">Try a package</a>
          </p>
        </section>
      );
  }
}
