// SPDX-License-Identifier: Apache-2.0

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { IconButton } from "./icons.tsx";
import { useStrings } from "./page.ts";

interface Props {
  title: string;
  class?: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** A window above the page; the keyboard stays in it until it is closed. */
export function Dialog({ title, onClose, children, ...rest }: Props) {
  const t = useStrings();
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const onClick = (event: MouseEvent) => {
    // The dialog itself is hit only beside its content.
    if (event.target === element.current) onClose();
  };
  return (
    <dialog
      ref={element}
      class={rest.class}
      aria-labelledby={heading}
      onMouseDown={onClick}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <div class="dialog">
        <header>
          <h2 id={heading}>{title}</h2>
          <IconButton icon="close" label={t.close} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface QuestionProps {
  question: string;
  onClose: () => void;
  onYes: () => void;
}

/** Asks before something is deleted. */
export function DeleteDialog({ question, onClose, onYes }: QuestionProps) {
  const t = useStrings();
  return (
    <Dialog title={question} class="small" onClose={onClose}>
      <p>{t.removeNote}</p>
      <div class="row">
        <button type="button" class="plain" onClick={onClose}>
          {t.cancel}
        </button>
        <button
          type="button"
          class="danger"
          onClick={() => {
            onClose();
            onYes();
          }}
        >
          {t.remove}
        </button>
      </div>
    </Dialog>
  );
}
