import { Menu } from "./Menu";
import { SignIn } from "./SignIn";

/** In the page's head, for somebody who is signed out. */
export function SignInMenu() {
  return (
    <Menu name="Sign in">
      <SignIn />
    </Menu>
  );
}
