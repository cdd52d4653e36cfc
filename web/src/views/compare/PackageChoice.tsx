import { useEffect, useState } from "preact/hooks";
import { api, type Schemas } from "../../api/client";

type Found = Schemas["PackageListed"];

const DEBOUNCE_MS = 250;
const MAX_FOUND = 8;

/** Search as you type, and choose one of what is found. */
export function PackageChoice({
  label,
  value,
  onChoose,
}: {
  label: string;
  value: string;
  onChoose: (id: string, name: string) => void;
}) {
  const [text, setText] = useState(value);
  const [found, setFound] = useState<Found[]>([]);
  const [foundFor, setFoundFor] = useState<string | null>(null);
  const [isOpen, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const id = `choice-${label.replace(/\W+/g, "-")}`;

  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (!isOpen) return undefined;
    let isCurrent = true;
    const timer = window.setTimeout(() => {
      const q = text === value ? "" : text.trim();
      api
        .get("/packages", { query: { limit: MAX_FOUND, ...(q && { q }) } })
        .then((page) => {
          if (!isCurrent) return;
          setFound(page.packages);
          setFoundFor(text);
          setActive(-1);
        })
        .catch(() => isCurrent && setFound([]));
    }, DEBOUNCE_MS);
    return () => {
      isCurrent = false;
      window.clearTimeout(timer);
    };
  }, [text, isOpen, value]);

  function choose(item: Found) {
    setText(item.name);
    setOpen(false);
    onChoose(item.id, item.name);
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (found.length > 0) setActive((active + step + found.length) % found.length);
    } else if (event.key === "Enter" && isOpen) {
      event.preventDefault();
      // The first one only if it was found for this text, and not for what was written before.
      const item = active >= 0 ? found[active] : foundFor === text ? found[0] : undefined;
      if (item) choose(item);
    } else if (event.key === "Escape") {
      setOpen(false);
      setText(value);
    }
  }

  return (
    <div class="compare-choice">
      <label for={id}>Package</label>
      <input
        id={id}
        type="text"
        role="combobox"
        autocomplete="off"
        aria-label={label}
        aria-expanded={isOpen && found.length > 0}
        aria-controls={`${id}-list`}
        aria-autocomplete="list"
        aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
        placeholder="Search packages"
        value={text}
        onFocus={() => setOpen(true)}
        onBlur={() => {
          setOpen(false);
          setText(value);
        }}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setActive(-1);
          setOpen(true);
        }}
        onKeyDown={onKeyDown}
      />
      <ul id={`${id}-list`} role="listbox" aria-label={label} hidden={!isOpen || found.length === 0}>
        {found.map((item, place) => (
          <li
            key={item.id}
            id={`${id}-${place}`}
            role="option"
            aria-selected={place === active}
            // Before the input loses the focus, which closes the list.
            onMouseDown={(event) => {
              event.preventDefault();
              choose(item);
            }}
          >
            <strong>{item.name}</strong> <small>{item.description}</small>
          </li>
        ))}
      </ul>
    </div>
  );
}
