// SPDX-License-Identifier: Apache-2.0

import { memo } from "preact/compat";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { Blocks, wholeBlocks } from "../markdown/blocks.ts";
import { draw } from "../markdown/draw.ts";
import { copy } from "./clipboard.ts";
import { usePage, useStrings } from "./page.ts";

const Block = memo(function Block({ text, open }: { text: string; open: boolean }) {
  const element = useRef<HTMLDivElement>(null);
  const t = useStrings();
  useLayoutEffect(() => {
    if (element.current !== null) draw(element.current, text, open, t);
  }, [text, open, t]);
  return <div class="block" ref={element} />;
});

/** A text in Markdown, which may grow. */
export function Markdown({ text, growing }: { text: string; growing: boolean }) {
  const { notices } = usePage();
  const t = useStrings();
  const grown = useRef(new Blocks());
  const whole = useMemo(() => (growing ? null : wholeBlocks(text)), [text, growing]);
  const blocks = whole ?? grown.current.update(text);
  const onClick = async (event: MouseEvent) => {
    const button = (event.target as Element).closest?.(".copy-code");
    const code = button?.closest("pre")?.querySelector("code");
    if (!button || !code) return;
    if (!(await copy(code.textContent ?? ""))) return notices.add("copy", (strings) => strings.copyFailed);
    button.textContent = t.copied;
    setTimeout(() => (button.textContent = t.copyCode), 2000);
  };
  return (
    <div class="markdown" onClick={onClick}>
      {blocks.map((block, place) => (
        <Block key={place} text={block} open={growing && place === blocks.length - 1} />
      ))}
    </div>
  );
}
