import { useEffect, useRef } from "preact/hooks";
import { Account, SignInOffer } from "./components/Account";
import { Announcer } from "./components/announcer";
import { BalanceBadge } from "./components/BalanceBadge";
import { Undo } from "./components/undo";
import { lazy } from "./components/lazy";
import { SignInMenu } from "./components/SignInMenu";
import { links, route, type Route } from "./router";
import { isSignedIn, signOut } from "./session/token";
import { RunStatus } from "./views/try/RunStatus";
import { tryLink } from "./views/try/store";
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

export function App() {
  const { view } = route.value;
  const main = useRef<HTMLElement>(null);
  const before = useRef(view);
  useEffect(() => {
    document.title = `${TITLES[view]} · PRPM+ Playground`;
    if (before.current === view) return;
    before.current = view;
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [view]);
  const navigation = [
    { view: "try", name: "Try", to: tryLink.value },
    { view: "compare", name: "Compare", to: links.compare() },
    { view: "conversations", name: "Conversations", to: links.conversations() },
    { view: "credits", name: "Credits", to: links.credits() },
  ];
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault(); // the fragment of the address is for the token
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="/">
          PRPM+ <span>Playground</span>
        </a>
        <nav aria-label="Main">
          <ul>
            {navigation.map((item) => (
              <li key={item.view}>
                <a href={item.to} aria-current={item.view === view ? "page" : undefined}>
                  {item.name}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="who">
          {isSignedIn.value ? (
            <>
              <Account />
              <BalanceBadge />
              <button type="button" class="button button-quiet" onClick={signOut}>
                Sign out
              </button>
            </>
          ) : (
            <SignInMenu />
          )}
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <RunStatus />
        <View />
      </main>
      <SignInOffer />
      <Undo />
      <Announcer />
    </>
  );
}

function View() {
  const current = route.value;
  switch (current.view) {
    case "try":
      return <Try packageId={current.packageId} sessionId={current.sessionId} isOwn={current.isOwn} />;
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
