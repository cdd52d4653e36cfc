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
  const usual = Math.min(model.max_tokens.default, most);
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
              onChange={() => store.chooseModel(each.name)}
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
            effort {effort}, at most {draft.maxTokens === "" ? count(usual) : draft.maxTokens} tokens
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
              type="text"
              inputMode="numeric"
              autocomplete="off"
              placeholder={String(usual)}
              value={draft.maxTokens}
              aria-invalid={store.maxTokens.value === undefined}
              onInput={(event) => store.change({ maxTokens: event.currentTarget.value.trim() })}
            />
            <span class="hint">up to {count(most)}; thinking counts, too</span>
          </label>
          {model.takes_temperature && (
            <label class="field">
              Temperature
              <input
                type="text"
                inputMode="decimal"
                autocomplete="off"
                value={draft.temperature}
                aria-invalid={store.temperature.value === undefined}
                onInput={(event) => store.change({ temperature: event.currentTarget.value.trim() })}
              />
              <span class="hint">from 0 to 1</span>
            </label>
          )}
          {store.session.value === null && store.details.value !== null && (
            <label class="choice">
              <input
                type="checkbox"
                checked={store.setup.value.withoutPrompt}
                onChange={(event) => store.changeSetup({ withoutPrompt: event.currentTarget.checked })}
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
