// SPDX-License-Identifier: Apache-2.0

import { useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import { Dialog } from "./Dialog.tsx";
import { sends } from "./keys.ts";
import { usePage, useStrings } from "./page.ts";

/** Asks for the API key where the server wants one. */
export function KeyDialog() {
  const { connection, preferences } = usePage();
  const t = useStrings();
  const asks = useCell(connection.asksKey);
  const [key, setKey] = useState("");
  const [keep, setKeep] = useState(preferences.settings.value.keepKey);
  if (asks === "no") return null;
  const save = () => {
    if (key.trim() === "") return;
    setKey("");
    void connection.giveKey(key.trim(), keep);
  };
  return (
    <Dialog title={t.key} class="small" onClose={() => connection.asksKey.set("no")}>
      <p id="key-note" class={asks === "wrong" ? "fault" : undefined} role={asks === "wrong" ? "alert" : undefined}>
        {asks === "wrong" ? t.keyWrong : t.keyNote}
      </p>
      <input
        type="password"
        autocomplete="off"
        aria-label={t.key}
        aria-describedby="key-note"
        value={key}
        onInput={(event) => setKey(event.currentTarget.value)}
        onKeyDown={(event) => sends(event) && save()}
      />
      <label class="check-field">
        <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.currentTarget.checked)} />
        {t.keepKey}
      </label>
      <div class="row">
        <button type="button" class="primary" disabled={key.trim() === ""} onClick={save}>
          {t.save}
        </button>
      </div>
    </Dialog>
  );
}
