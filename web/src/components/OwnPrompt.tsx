import { characters, count } from "../lib/format";
import { promptInfo, promptTerms } from "../lib/prompts";
import { links } from "../router";

interface Props {
  id: string;
  label: string;
  value: string;
  onInput: (text: string) => void;
}

/** The field for a prompt of one's own, with its length and who may run it. */
export function OwnPrompt({ id, label, value, onInput }: Props) {
  const info = promptInfo.value;
  const length = characters(value);
  const most = info?.limits.max_prompt_length ?? null;
  const isLong = most !== null && length > most;
  return (
    <div class="own-prompt">
      <label for={id}>{label}</label>
      <textarea
        id={id}
        dir="auto"
        rows={6}
        value={value}
        placeholder="You are …"
        aria-invalid={isLong}
        aria-describedby={`${id}-terms ${id}-count`}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      <p class="under-input">
        <span id={`${id}-terms`} class="hint">
          {info && promptTerms(info)} <a href={links.subscription()}>About PRPM+</a>
        </span>
        <span id={`${id}-count`} class={isLong ? "count problem" : "count"}>
          {count(length)}
          {most !== null && ` of ${count(most)}`} characters
        </span>
      </p>
    </div>
  );
}
