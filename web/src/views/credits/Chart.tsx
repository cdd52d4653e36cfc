import { balanceOverTime, stepPath, type Balanced } from "./history";

const dayAndMonth = (at: number) => new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
const WIDTH = 600;
const HEIGHT = 120;

/** The balance over time. The table beside it has the same numbers, so the picture is described and not read out. */
export function Chart({ entries, now }: { entries: readonly Balanced[]; now: number }) {
  const points = balanceOverTime(entries, now);
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last) return null;
  const top = Math.max(1, ...points.map((point) => point.balance));
  const line = stepPath(points, WIDTH, HEIGHT);
  const from = dayAndMonth(first.at);
  const to = dayAndMonth(last.at);
  return (
    <figure class="credits-chart">
      <figcaption>
        Balance {from === to ? `of ${to}` : `from ${from} to ${to}`}: {first.balance} at first, {top} at most,{" "}
        {last.balance} now
      </figcaption>
      <svg viewBox={`0 -2 ${WIDTH} ${HEIGHT + 4}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <path class="credits-chart-area" d={`${line}V${HEIGHT}H0Z`} />
        <path class="credits-chart-line" d={line} vector-effect="non-scaling-stroke" />
      </svg>
    </figure>
  );
}
