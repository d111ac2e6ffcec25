// SPDX-License-Identifier: Apache-2.0

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Children, Conversation, Message } from "../chat/tree.ts";
import { Branches } from "./Branches.tsx";
import { CopyButton } from "./CopyButton.tsx";
import { IconButton } from "./icons.tsx";
import { escapes, sends } from "./keys.ts";
import { usePage, useStrings } from "./page.ts";

interface Props {
  conversation: Conversation;
  tree: Children;
  message: Message;
  /** While an answer is written no other one can be asked for. */
  busy: boolean;
}

export function UserMessage({ conversation, tree, message, busy }: Props) {
  const t = useStrings();
  const [editing, setEditing] = useState(false);
  return (
    <article class="message user" aria-label={t.you}>
      <h2 class="hidden">{t.you}</h2>
      {editing ? (
        <Editor conversation={conversation} message={message} busy={busy} onEnd={() => setEditing(false)} />
      ) : (
        <>
          <div class="bubble">{message.content}</div>
          <div class="actions">
            <Branches conversation={conversation} tree={tree} message={message} />
            <CopyButton text={message.content} />
            <IconButton icon="edit" label={t.edit} disabled={busy} onClick={() => setEditing(true)} />
          </div>
        </>
      )}
    </article>
  );
}

interface EditorProps {
  conversation: Conversation;
  message: Message;
  busy: boolean;
  onEnd: () => void;
}

function Editor({ conversation, message, busy, onEnd }: EditorProps) {
  const { chat } = usePage();
  const t = useStrings();
  const [text, setText] = useState(message.content);
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(text.length, text.length);
  }, []);
  const send = () => {
    if (text.trim() === "" || busy) return;
    onEnd();
    chat.edit(conversation, message, text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (escapes(event)) {
      event.stopPropagation();
      onEnd();
    } else if (sends(event)) {
      event.preventDefault();
      send();
    }
  };
  return (
    <div class="editor">
      <textarea
        aria-label={t.editLabel}
        value={text}
        rows={Math.min(12, text.split("\n").length + 1)}
        ref={area}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="row">
        <button type="button" class="plain" onClick={onEnd}>
          {t.cancel}
        </button>
        <button type="button" class="primary" disabled={text.trim() === "" || busy} onClick={send}>
          {t.sendEdit}
        </button>
      </div>
    </div>
  );
}
