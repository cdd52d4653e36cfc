import { OwnPrompt } from "../../components/OwnPrompt";
import { count, effortName, modelName } from "../../lib/format";
import { arePromptsOffered, mostTokens } from "../../lib/prompts";
import { PackageChoice } from "./PackageChoice";
import type { Known, Model, Variant } from "./variants";
import { filledIn } from "../../lib/variables";

const PROMPTS = { package: "A package", own: "Your own prompt", none: "None" } as const;

interface Props {
  place: number;
  variant: Variant;
  known: Known;
  isRepeated: boolean;
  onChange: (part: Partial<Variant>) => void;
  onChoose: (packageId: string, packageName: string) => void;
  onRemove: (() => void) | null;
}

/** What one column asks: its prompt with its variables, its model and settings. */
export function ColumnForm({ place, variant, known, isRepeated, onChange, onChoose, onRemove }: Props) {
  const prompts = Object.entries(PROMPTS).filter(([name]) => name !== "own" || arePromptsOffered() || variant.prompt === "own");
  const variables = variant.prompt === "package" ? (known.variables[variant.packageId] ?? []) : [];
  const names = known.models.length > 0 ? known.models.map((each) => each.name) : [variant.model];
  return (
    <fieldset>
      <legend tabIndex={-1}>Column {place + 1}</legend>
      <label>
        Prompt
        <select value={variant.prompt} onChange={(event) => onChange({ prompt: event.currentTarget.value as Variant["prompt"] })}>
          {prompts.map(([name, text]) => (
            <option key={name} value={name}>
              {text}
            </option>
          ))}
        </select>
      </label>
      {variant.prompt === "package" && (
        <PackageChoice label={`Package of column ${place + 1}`} value={variant.packageName} onChoose={onChoose} />
      )}
      {variables.map((each) => (
        <label key={each.name} class="field">
          <span>
            {each.name.replaceAll("_", " ")}
            {each.default === null && <span class="hint"> (needed)</span>}
          </span>
          <input
            type="text"
            dir="auto"
            maxLength={5000}
            autocomplete="off"
            required={each.default === null}
            placeholder={each.default ?? ""}
            value={filledIn(variant.values, each.name)}
            onInput={(event) => onChange({ values: { ...variant.values, [each.name]: event.currentTarget.value } })}
          />
        </label>
      ))}
      {variant.prompt === "own" && (
        <OwnPrompt
          id={`own-prompt-${place + 1}`}
          label={`Prompt of column ${place + 1}`}
          value={variant.own}
          onInput={(own) => onChange({ own })}
        />
      )}
      <label>
        Model
        <select value={variant.model} onChange={(event) => onChange({ model: event.currentTarget.value as Model })}>
          {names.map((name) => (
            <option key={name} value={name}>
              {modelName(name)}
            </option>
          ))}
        </select>
      </label>
      <More variant={variant} known={known} onChange={onChange} />
      {isRepeated && <p role="alert">This column would be the same as another one.</p>}
      {onRemove && (
        <button type="button" class="button button-quiet" onClick={onRemove}>
          Remove column {place + 1}
        </button>
      )}
    </fieldset>
  );
}

function More({ variant, known, onChange }: Pick<Props, "variant" | "known" | "onChange">) {
  const model = known.models.find((each) => each.name === variant.model);
  if (!model) return null;
  const most = mostTokens(model.max_tokens.most, variant.prompt === "own", known.info);
  const usual = Math.min(model.max_tokens.default, most);
  const isOffered = variant.effort !== null && model.efforts.includes(variant.effort);
  return (
    <details class="more">
      <summary>More settings</summary>
      <div class="fields">
        {model.efforts.length > 0 && (
          <label class="field">
            Effort
            <select
              value={isOffered ? (variant.effort ?? "") : ""}
              onChange={(event) => onChange({ effort: event.currentTarget.value || null })}
            >
              <option value="">usual</option>
              {model.efforts.map((each) => (
                <option key={each} value={each}>
                  {effortName(each)}
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
            placeholder={String(usual)}
            value={variant.maxTokens ?? ""}
            onInput={(event) => {
              const wanted = event.currentTarget.valueAsNumber;
              onChange({ maxTokens: Number.isInteger(wanted) && wanted > 0 ? wanted : null });
            }}
          />
          <span class="hint">up to {count(most)}</span>
        </label>
      </div>
    </details>
  );
}
