import "./session/token"; // first: it takes the token out of the address
import "./session/returned"; // and what Stripe's page has put there
import { render } from "preact";
import { App } from "./App";
import { keepFocus } from "./lib/focus";
import { ignoreHeldEnter } from "./lib/held";
import { followLinks } from "./router";
import "./styles/base.css";

const root = document.getElementById("app");
if (root) {
  followLinks(root);
  keepFocus();
  ignoreHeldEnter();
  render(<App />, root);
}
