// SPDX-License-Identifier: Apache-2.0

import { useEffect, useRef, useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import { Icon } from "./icons.tsx";
import { escapes, sends } from "./keys.ts";
import { usePage, useStrings } from "./page.ts";
import { show } from "./route.ts";

/** Where messages are written. What is not sent yet belongs to its conversation. */
export function Composer() {
  const { chat, library, connection } = usePage();
  const t = useStrings();
  const conversation = useCell(library.current);
  const busy = useCell(chat.live).has(conversation?.id ?? "");
  const ready = useCell(connection.props) !== null;
  const place = conversation?.id ?? "";
  const [drafts, setDrafts] = useState<ReadonlyMap<string, string>>(new Map());
  const text = drafts.get(place) ?? "";
  const area = useRef<HTMLTextAreaElement>(null);
  const setText = (value: string) => setDrafts(new Map(drafts).set(place, value));
  useEffect(() => area.current?.focus({ preventScroll: true }), [place]);
  useEffect(() => grow(area.current), [text]);

  const send = () => {
    if (text.trim() === "" || busy || !ready) return;
    setText("");
    show(library, chat.send(text).id);
    area.current?.focus();
  };
  const stop = () => {
    if (conversation !== null) chat.stop(conversation.id);
    area.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (sends(event)) {
      event.preventDefault();
      send();
    } else if (escapes(event) && busy) stop();
  };
  return (
    <div class="composer">
      <div class="field">
        <textarea
          id="message"
          ref={area}
          rows={1}
          aria-label={t.message}
          aria-describedby="enter-hint"
          placeholder={t.placeholder}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        {busy ? (
          <button type="button" class="send" aria-label={t.stop} title={`${t.stop} (Esc)`} onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button
            type="button"
            class="send"
            aria-label={t.send}
            title={t.send}
            disabled={text.trim() === "" || !ready}
            onClick={send}
          >
            <Icon name="send" />
          </button>
        )}
      </div>
      <p class="hint" id="enter-hint">
        {t.enterHint}
      </p>
    </div>
  );
}

// As high as its text, up to what the style sheet allows.
function grow(area: HTMLTextAreaElement | null): void {
  if (area === null) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
