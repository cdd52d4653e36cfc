import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

/** Asks before something is done. Escape and a press beside it mean no; the focus goes back to where it was. */
export function Confirm({
  title,
  yes,
  no,
  onYes,
  onNo,
  children,
}: {
  title: string;
  yes: string;
  no: string;
  onYes: () => void;
  onNo: () => void;
  children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    shown?.showModal();
    return () => {
      shown?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      class="confirm"
      ref={dialog}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onNo();
      }}
      onClick={(event) => event.target === dialog.current && onNo()}
    >
      <div class="confirm-inner">
        <h2 id={heading}>{title}</h2>
        {children}
        <div class="actions">
          <button type="button" class="button button-main" autofocus onClick={onNo}>
            {no}
          </button>
          <button type="button" class="button button-danger" onClick={onYes}>
            {yes}
          </button>
        </div>
      </div>
    </dialog>
  );
}
