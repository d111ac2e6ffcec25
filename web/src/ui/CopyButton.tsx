// SPDX-License-Identifier: Apache-2.0

import { useState } from "preact/hooks";
import { copy } from "./clipboard.ts";
import { IconButton } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";

export function CopyButton({ text }: { text: string }) {
  const { notices, chat } = usePage();
  const t = useStrings();
  const [done, setDone] = useState(false);
  const onClick = async () => {
    if (!(await copy(text))) return notices.add("copy", (strings) => strings.copyFailed);
    chat.announcement.set(t.copied);
    setDone(true);
    setTimeout(() => setDone(false), 2000);
  };
  return <IconButton icon={done ? "check" : "copy"} label={done ? t.copied : t.copy} onClick={onClick} />;
}
