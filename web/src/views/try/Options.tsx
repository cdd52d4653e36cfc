import { count, credits, effortName, modelName } from "../../lib/format";
import { promptInfo } from "../../lib/prompts";
import * as store from "./store";

/** What the API offers for the chosen model, and nothing else. */
export function Options() {
  const model = store.model.value;
  const draft = store.draft.value;
  if (!model) return null;
  const offered = store.models.value.filter((each) => !each.retired);
  const effort = draft.effort && model.efforts.includes(draft.effort) ? draft.effort : model.default_effort;
  const most = store.mostTokens.value;
  const isOwn = store.runsOwnPrompt.value;
  const factor = isOwn ? (promptInfo.value?.pricing.credit_multiplier ?? 1) : 1;
  const smallest = model.tiers.steps[0];
  return (
    <div class="options">
      <fieldset class="models">
        <legend>Model</legend>
        {offered.map((each) => (
          <label key={each.name} class="choice">
            <input
              type="radio"
              name="model"
              value={each.name}
              checked={each.name === model.name}
              onChange={() => store.change({ model: each.name })}
            />
            <span>{modelName(each.name)}</span>
          </label>
        ))}
      </fieldset>
      <details class="more">
        <summary>
          More settings
          <span class="hint">
            {" "}
            effort {effort}, at most {count(Math.min(draft.maxTokens ?? model.max_tokens.default, most))} tokens
          </span>
        </summary>
        <div class="fields">
          {model.efforts.length > 0 && (
            <label class="field">
              Effort
              <select value={effort} onChange={(event) => store.change({ effort: event.currentTarget.value })}>
                {model.efforts.map((each) => (
                  <option key={each} value={each}>
                    {effortName(each) + (each === model.default_effort ? " (usual)" : "")}
                  </option>
                ))}
              </select>
            </label>
          )}
          <label class="field">
            Maximum of tokens
            <input
              type="number"
              min={1}
              max={most}
              step={1}
              inputMode="numeric"
              placeholder={String(Math.min(model.max_tokens.default, most))}
              value={draft.maxTokens ?? ""}
              onInput={(event) => {
                const wanted = event.currentTarget.valueAsNumber;
                store.change({ maxTokens: Number.isInteger(wanted) && wanted > 0 ? wanted : null });
              }}
            />
            <span class="hint">up to {count(most)}; thinking counts, too</span>
          </label>
          {model.takes_temperature && (
            <label class="field">
              Temperature
              <input
                type="number"
                min={0}
                max={1}
                step={0.1}
                inputMode="decimal"
                value={draft.temperature ?? ""}
                onInput={(event) => {
                  const wanted = event.currentTarget.valueAsNumber;
                  store.change({ temperature: Number.isFinite(wanted) ? Math.min(1, Math.max(0, wanted)) : null });
                }}
              />
            </label>
          )}
          {store.session.value === null && !isOwn && (
            <label class="choice">
              <input
                type="checkbox"
                checked={draft.withoutPrompt}
                onChange={(event) => store.change({ withoutPrompt: event.currentTarget.checked })}
              />
              <span>Leave the package's prompt out, to see what it changes</span>
            </label>
          )}
        </div>
        {smallest && (
          <p class="hint">
            A run with {modelName(model.name)} costs {credits(smallest.credits * factor)} up to {count(smallest.up_to_tokens)} tokens, read and
            written, and more for longer ones.
          </p>
        )}
      </details>
    </div>
  );
}
