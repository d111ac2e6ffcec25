// SPDX-License-Identifier: Apache-2.0

import { useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import type { Summary } from "../chat/tree.ts";
import { ConversationItem } from "./ConversationItem.tsx";
import { Icon, IconButton } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";
import { addressOf } from "./route.ts";

interface Props {
  onClose: () => void;
  /** Called when a conversation is chosen: a narrow page then shows it. */
  onChoose: () => void;
}

export function Sidebar({ onClose, onChoose }: Props) {
  const { library } = usePage();
  const t = useStrings();
  const summaries = useCell(library.summaries);
  const [wanted, setWanted] = useState("");
  const found = summaries.filter(({ title }) => title.toLowerCase().includes(wanted.trim().toLowerCase()));
  return (
    <nav class="sidebar" id="sidebar" aria-label={t.conversations}>
      <div class="top">
        <span class="brand">Lumen</span>
        <IconButton icon="close" label={t.closeSidebar} class="close-sidebar" onClick={onClose} />
      </div>
      <a class="new" href={addressOf(null)} onClick={onChoose}>
        <Icon name="plus" />
        {t.newConversation}
      </a>
      {summaries.length > 0 && (
        <label class="search">
          <Icon name="search" />
          <span class="hidden">{t.search}</span>
          <input
            type="search"
            placeholder={t.search}
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
          />
        </label>
      )}
      <div class="list">
        {summaries.length === 0 && <p class="muted">{t.noConversations}</p>}
        {summaries.length > 0 && found.length === 0 && <p class="muted">{t.nothingFound}</p>}
        {groups(found, new Date()).map(([age, members]) => (
          <section key={age} aria-label={t[age]}>
            <h2>{t[age]}</h2>
            <ul>
              {members.map((summary) => (
                <ConversationItem key={summary.id} summary={summary} onChoose={onChoose} />
              ))}
            </ul>
          </section>
        ))}
      </div>
    </nav>
  );
}

type Age = "today" | "yesterday" | "week" | "older";

function groups(summaries: readonly Summary[], now: Date): [Age, Summary[]][] {
  const midnight = (days: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - days).getTime();
  const starts: [Age, number][] = [["today", midnight(0)], ["yesterday", midnight(1)], ["week", midnight(7)], ["older", -1]];
  const found = new Map<Age, Summary[]>();
  for (const summary of summaries) {
    const age = starts.find(([, start]) => summary.updated >= start)?.[0] ?? "older";
    found.set(age, [...(found.get(age) ?? []), summary]);
  }
  return [...found];
}
