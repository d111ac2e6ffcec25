// SPDX-License-Identifier: Apache-2.0

import type { Stats } from "../api/answer.ts";
import { useNumbers, useStrings } from "./page.ts";

/** What the server counted and measured. */
export function StatsLine({ stats }: { stats: Stats }) {
  const t = useStrings();
  const number = useNumbers();
  const parts: string[] = [];
  if (stats.speed !== undefined && stats.speed > 0) parts.push(t.speed(number(stats.speed, 1)));
  if (stats.answerTokens !== undefined) parts.push(t.tokens(number(stats.answerTokens)));
  if (stats.answerMs !== undefined) parts.push(t.seconds(number((stats.answerMs + (stats.promptMs ?? 0)) / 1000, 1)));
  if (stats.promptTokens !== undefined) {
    parts.push(t.promptStats(number(stats.promptTokens), number(stats.cachedTokens ?? 0)));
  }
  return parts.length === 0 ? null : <span class="stats">{parts.join(" · ")}</span>;
}
