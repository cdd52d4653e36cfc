import { count, dayNear } from "../../lib/format";
import { balanceOverTime, highest, stepPath, type Balanced } from "./history";

const WIDTH = 600;
const HEIGHT = 120;

/** The balance over time. The table beside it has the same numbers, so the picture is described and not read out. */
export function Chart({ entries, now }: { entries: readonly Balanced[]; now: number }) {
  const points = balanceOverTime(entries, now);
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last) return null;
  const top = highest(points);
  const line = stepPath(points, WIDTH, HEIGHT);
  const from = dayNear(first.at, new Date(now));
  const to = dayNear(last.at, new Date(now));
  return (
    <figure class="credits-chart">
      <figcaption>
        Balance {from === to ? `of ${to}` : `from ${from} to ${to}`}: {count(first.balance)} at first, {count(top)} at most,{" "}
        {count(last.balance)} now
      </figcaption>
      <svg viewBox={`0 -2 ${WIDTH} ${HEIGHT + 4}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <path class="credits-chart-area" d={`${line}V${HEIGHT}H0Z`} />
        <path class="credits-chart-line" d={line} vector-effect="non-scaling-stroke" />
      </svg>
    </figure>
  );
}
