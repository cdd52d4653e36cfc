/** Keeps the end of a text in view while it grows, as long as the reader is there. */
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";

const ROOM_PX = 24; // below the end
const SLACK_PX = 8;

/** Whether the reader follows the end, after a scroll: who moves up and away from it does not, who comes back does. */
export function follows(before: boolean, moved: number, hidden: number): boolean {
  if (hidden <= SLACK_PX) return true;
  return moved < 0 ? false : before;
}

/** How many pixels of the element are below what can be seen: below the window's end, or behind the stop bar. */
function hiddenBelow(element: Element): number {
  const bar = document.querySelector(".stop-bar")?.getBoundingClientRect().height ?? 0;
  return element.getBoundingClientRect().bottom - (innerHeight - bar - ROOM_PX);
}

function show(element: Element): void {
  const hidden = hiddenBelow(element);
  if (hidden > 0) scrollBy({ top: hidden, behavior: "instant" });
}

/** While the element is there; what takes its place as the last `.turn` is followed to its end once. */
export function useFollowedEnd(element: RefObject<HTMLElement | null>): void {
  useLayoutEffect(() => {
    const followed = element.current;
    if (followed === null) return undefined;
    const place = followed.parentElement;
    let isFollowing = hiddenBelow(followed) <= SLACK_PX;
    let before = scrollY;
    const onScroll = () => {
      isFollowing = follows(isFollowing, scrollY - before, hiddenBelow(followed));
      before = scrollY;
    };
    const growth = new ResizeObserver(() => isFollowing && show(followed));
    growth.observe(followed);
    addEventListener("scroll", onScroll, { passive: true });
    return () => {
      growth.disconnect();
      removeEventListener("scroll", onScroll);
      if (!isFollowing) return;
      requestAnimationFrame(() => {
        const last = Array.from(place?.querySelectorAll(":scope > .turn") ?? []).at(-1);
        if (last) show(last);
      });
    };
  }, []);
}
