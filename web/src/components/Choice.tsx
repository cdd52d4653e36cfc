interface Props<T extends string> {
  label: string;
  value: T;
  /** What is shown for each value. */
  options: Readonly<Record<string, string>>;
  onChange: (value: T) => void;
}

/** A choice of one value, with its label in the same line. */
export function Choice<T extends string>({ label, value, options, onChange }: Props<T>) {
  return (
    <label>
      {label}{" "}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {Object.entries(options).map(([each, name]) => (
          <option key={each} value={each}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
