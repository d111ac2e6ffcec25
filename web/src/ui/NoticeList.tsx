// SPDX-License-Identifier: Apache-2.0

import { useCell } from "../app/cell.ts";
import { IconButton } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";

export function NoticeList() {
  const { notices } = usePage();
  const t = useStrings();
  const list = useCell(notices.list);
  return (
    <div class="notices">
      {list.map((notice) => (
        <div key={notice.about} class={notice.good ? "notice good" : "notice"} role={notice.good ? "status" : "alert"}>
          <p>{notice.text(t)}</p>
          <IconButton icon="close" label={t.dismiss} onClick={() => notices.remove(notice.about)} />
        </div>
      ))}
    </div>
  );
}
