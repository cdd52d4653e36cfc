import { useState } from "preact/hooks";
import { Choice } from "../../components/Choice";
import { ErrorNotice } from "../../components/ErrorNotice";
import { useAsked } from "../../lib/asked";
import { count, counted, credits, modelName, utcDay } from "../../lib/format";
import { bars, readUsage, SPANS, type Counted, type Measure, type Usage } from "./usage";

const MEASURES: Readonly<Record<Measure, string>> = { credits: "credits", runs: "runs", tokens: "tokens" };
const SPAN_NAMES: Readonly<Record<string, string>> = Object.fromEntries(SPANS.map((each) => [each, `${each} days`]));
const WIDTH = 600;
const HEIGHT = 120;

/** Runs, credits and tokens of the last days. `changes`: a new value means that there may be new runs. */
export function UsageView({ changes }: { changes: unknown }) {
  const [days, setDays] = useState<number>(30);
  const [measure, setMeasure] = useState<Measure>("credits");
  const usage = useAsked(JSON.stringify({ days, changes }), (_, signal) => readUsage(days, signal), 0);
  return (
    <section aria-labelledby="usage-title" aria-busy={usage.state === "asking"}>
      <div class="credits-heading">
        <h2 id="usage-title">Usage</h2>
        <div class="credits-choices">
          <Choice label="Of the last" value={String(days)} options={SPAN_NAMES} onChange={(value) => setDays(Number(value))} />
          <Choice label="Draw" value={measure} options={MEASURES} onChange={setMeasure} />
        </div>
      </div>
      {usage.state === "asking" && <p class="loading">Loading…</p>}
      {usage.state === "failed" && <ErrorNotice error={usage.error} onRetry={usage.again} />}
      {usage.value !== null && <Shown usage={usage.value} measure={measure} />}
    </section>
  );
}

function Shown({ usage, measure }: { usage: Usage; measure: Measure }) {
  const { total } = usage;
  const first = usage.days[0];
  const last = usage.days[usage.days.length - 1];
  if (total.runs === 0 && total.failed === 0) return <p>There were no runs on these days.</p>;
  const used = usage.days.filter((each) => each.runs > 0 || each.failed > 0).reverse();
  return (
    <>
      <p>
        {counted(total.runs, "run")}, {credits(total.credits)}, {counted(total.tokens, "token")}.
        {total.failed > 0 && ` ${counted(total.failed, "other run")} ended without an answer and cost nothing.`}
        {usage.isCut && " There is more than this page can add up."}
      </p>
      {first && last && (
        <figure class="credits-chart">
          <figcaption>
            {firstUp(MEASURES[measure])} a day (UTC), {utcDay(first.date)} to {utcDay(last.date)}, at most{" "}
            {count(usage.days.reduce((most, each) => Math.max(most, each[measure]), 0))}
          </figcaption>
          <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
            {bars(usage.days, measure, WIDTH, HEIGHT).map((bar, at) => (
              <rect key={at} class="credits-bar" {...bar} />
            ))}
          </svg>
        </figure>
      )}
      <Table caption="By day" of="Day" rows={used.map((each) => ({ ...each, name: utcDay(each.date) }))} />
      <Table
        caption="By model and package"
        of="Model and package"
        rows={usage.kinds.map((each) => ({ ...each, name: `${modelName(each.model)}, ${each.package ?? "no package"}` }))}
      />
    </>
  );
}

/** Folded where there is little room; the picture and the sums are above it. */
function Table({ caption, of, rows }: { caption: string; of: string; rows: readonly (Counted & { name: string })[] }) {
  const [isOpen] = useState(() => matchMedia("(min-width: 48rem)").matches);
  return (
    <details class="credits-fold" open={isOpen}>
      <summary>{caption}</summary>
      <div class="credits-scroll credits-usage" role="region" aria-label={`Usage ${caption.toLowerCase()}`} tabIndex={0}>
        <Lines of={of} rows={rows} />
      </div>
    </details>
  );
}

function Lines({ of, rows }: { of: string; rows: readonly (Counted & { name: string })[] }) {
  return (
    <table class="credits-table">
      <thead>
        <tr>
          <th scope="col">{of}</th>
          <th scope="col" class="credits-number">
            Runs
          </th>
          <th scope="col" class="credits-number">
            Credits
          </th>
          <th scope="col" class="credits-number">
            Tokens
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((each) => (
          <tr key={each.name}>
            <th scope="row">{each.name}</th>
            <td class="credits-number">{count(each.runs)}</td>
            <td class="credits-number">{count(each.credits)}</td>
            <td class="credits-number">{count(each.tokens)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const firstUp = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);
