// SPDX-License-Identifier: Apache-2.0

import { useEffect, useLayoutEffect, useReducer, useRef } from "preact/hooks";
import type { Cell } from "../app/cell.ts";

// Of the time at most this part is spent on drawing what grows.
const SHARE = 0.3;

/** Draws a component again when a cell changes: once per frame, and less often where drawing takes long. */
export function useGrowth(changes: Cell<number> | null): void {
  const [, again] = useReducer((count: number, _: void) => count + 1, 0);
  const cost = useRef(0);
  const began = performance.now();
  useLayoutEffect(() => {
    cost.current = performance.now() - began;
  });
  useEffect(() => {
    if (changes === null) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let frame = 0;
    const schedule = () => {
      if (timer !== undefined) return;
      timer = setTimeout(() => {
        frame = requestAnimationFrame(() => {
          timer = undefined;
          again();
        });
      }, cost.current / SHARE);
    };
    const unfollow = changes.follow(schedule);
    schedule();
    return () => {
      unfollow();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, [changes]);
}
