// SPDX-License-Identifier: Apache-2.0

import { useId } from "preact/hooks";
import type { Progress } from "../api/answer.ts";
import { useNumbers, useStrings } from "./page.ts";

/** How much of the prompt the model has read, until the answer begins. */
export function Reading({ progress }: { progress: Progress | null }) {
  const t = useStrings();
  const number = useNumbers();
  const label = useId();
  if (progress === null) {
    return (
      <p class="reading">
        <span class="growing">{t.waiting}</span>
      </p>
    );
  }
  const { processed, total, cached } = progress;
  return (
    <div class="reading">
      <p id={label}>
        {t.reading(number(processed), number(total))}
        {cached > 0 && <span class="muted"> ({t.fromCache(number(cached))})</span>}
      </p>
      <progress aria-labelledby={label} max={Math.max(1, total)} value={processed} />
    </div>
  );
}
