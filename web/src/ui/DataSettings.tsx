// SPDX-License-Identifier: Apache-2.0

import { useRef, useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import { DeleteDialog } from "./Dialog.tsx";
import { exportFile, importFile } from "./files.ts";
import { Icon } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";

/** What to do with all conversations. */
export function DataSettings() {
  const { library, notices } = usePage();
  const t = useStrings();
  const ids = useCell(library.summaries).map(({ id }) => id);
  const [asks, setAsks] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const onChoose = async (input: HTMLInputElement) => {
    const file = input.files?.[0];
    if (file !== undefined) await importFile(library, notices, file);
    // The same file can be chosen again.
    input.value = "";
  };
  return (
    <section>
      <h3>{t.data}</h3>
      <div class="row">
        <button type="button" class="plain" disabled={ids.length === 0} onClick={() => void exportFile(library, ids)}>
          <Icon name="download" />
          {t.exportAll}
        </button>
        <button type="button" class="plain" onClick={() => field.current?.click()}>
          <Icon name="upload" />
          {t.import}
        </button>
        <button type="button" class="plain" disabled={ids.length === 0} onClick={() => setAsks(true)}>
          <Icon name="trash" />
          {t.removeAll}
        </button>
      </div>
      <input
        ref={field}
        type="file"
        accept=".json,application/json"
        aria-label={t.import}
        hidden
        onChange={(event) => void onChoose(event.currentTarget)}
      />
      <NoticeOfImport />
      {asks && (
        <DeleteDialog
          question={t.removeAllQuestion}
          onClose={() => setAsks(false)}
          onYes={() => void library.remove(ids)}
        />
      )}
    </section>
  );
}

// The list of notices lies below the dialog.
function NoticeOfImport() {
  const { notices } = usePage();
  const t = useStrings();
  const notice = useCell(notices.list).find(({ about }) => about === "import");
  if (notice === undefined) return null;
  return (
    <p class={notice.good ? "success" : "fault"} role={notice.good ? "status" : "alert"}>
      {notice.text(t)}
    </p>
  );
}
