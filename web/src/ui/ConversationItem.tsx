// SPDX-License-Identifier: Apache-2.0

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import type { Summary } from "../chat/tree.ts";
import { DeleteDialog } from "./Dialog.tsx";
import { exportFile } from "./files.ts";
import { IconButton } from "./icons.tsx";
import { escapes, sends } from "./keys.ts";
import { usePage, useStrings } from "./page.ts";
import { addressOf } from "./route.ts";

/** A conversation in the list. */
export function ConversationItem({ summary, onChoose }: { summary: Summary; onChoose: () => void }) {
  const { library } = usePage();
  const t = useStrings();
  const shown = useCell(library.current)?.id === summary.id;
  const [doing, setDoing] = useState<"nothing" | "rename" | "remove">("nothing");
  const title = summary.title || t.untitled;
  const end = () => setDoing("nothing");
  if (doing === "rename") return <Rename summary={summary} onEnd={end} />;
  return (
    <li class={shown ? "shown" : undefined}>
      <a href={addressOf(summary.id)} aria-current={shown ? "page" : undefined} title={title} onClick={onChoose}>
        {title}
      </a>
      <span class="item-actions" role="group" aria-label={t.more(title)}>
        <IconButton icon="edit" label={t.rename} onClick={() => setDoing("rename")} />
        <IconButton icon="download" label={t.exportOne} onClick={() => void exportFile(library, [summary.id])} />
        <IconButton icon="trash" label={t.remove} onClick={() => setDoing("remove")} />
      </span>
      {doing === "remove" && (
        <DeleteDialog
          question={t.removeQuestion(title)}
          onClose={end}
          onYes={() => void library.remove([summary.id])}
        />
      )}
    </li>
  );
}

function Rename({ summary, onEnd }: { summary: Summary; onEnd: () => void }) {
  const { library } = usePage();
  const t = useStrings();
  const [title, setTitle] = useState(summary.title);
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.select(), []);
  const save = async () => {
    onEnd();
    const [conversation] = await library.all([summary.id]);
    if (conversation === undefined || title.trim() === "" || title === conversation.title) return;
    await library.put({ ...conversation, title: title.trim() }, []);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (escapes(event)) onEnd();
    else if (sends(event)) void save();
  };
  return (
    <li>
      <input
        ref={field}
        class="rename"
        aria-label={t.title}
        value={title}
        onInput={(event) => setTitle(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        onBlur={() => void save()}
      />
    </li>
  );
}
