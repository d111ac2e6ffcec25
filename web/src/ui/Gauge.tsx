// SPDX-License-Identifier: Apache-2.0

import { Cell, useCell } from "../app/cell.ts";
import type { Live } from "../app/chat.ts";
import { branch, type Conversation } from "../chat/tree.ts";
import { useGrowth } from "./growth.ts";
import { useNumbers, usePage, useStrings } from "./page.ts";

const NONE = new Cell(0);

/** How much of the context the branch takes that is shown. */
export function Gauge() {
  const { library, chat, connection } = usePage();
  const t = useStrings();
  const number = useNumbers();
  const conversation = useCell(library.current);
  const live = useCell(chat.live).get(conversation?.id ?? "") ?? null;
  const context = useCell(connection.props)?.context ?? null;
  useGrowth(live?.changes ?? NONE);
  const used = usedOf(conversation, live);
  if (context === null || used === null) return null;
  const part = Math.min(1, used / context);
  const text = t.contextUse(number(used), number(context));
  return (
    <div
      class={`gauge ${part > 0.95 ? "full" : part > 0.8 ? "high" : ""}`}
      role="meter"
      aria-label={t.context}
      aria-valuemin={0}
      aria-valuemax={context}
      aria-valuenow={Math.min(used, context)}
      aria-valuetext={text}
      title={`${t.context}: ${text}`}
    >
      <svg viewBox="0 0 20 20" aria-hidden="true">
        <circle class="track" cx="10" cy="10" r="7.5" />
        <circle class="used" cx="10" cy="10" r="7.5" pathLength="1" stroke-dasharray={`${part} 1`} />
      </svg>
      <span>{number(100 * part)}%</span>
    </div>
  );
}

/** Tokens of the last answer with its prompt; null where none is known. */
function usedOf(conversation: Conversation | null, live: Live | null): number | null {
  if (live !== null) {
    const { stats, progress } = live.answer;
    const prompt = stats.promptTokens ?? progress?.total;
    if (prompt !== undefined) return prompt + (stats.answerTokens ?? 0);
  }
  const path = conversation === null ? [] : branch(conversation);
  const stats = path.findLast(({ stats }) => stats?.promptTokens !== undefined)?.stats;
  return stats === undefined ? null : (stats.promptTokens ?? 0) + (stats.answerTokens ?? 0);
}
