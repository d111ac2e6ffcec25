// SPDX-License-Identifier: Apache-2.0
// Writes the page as one file: `node build.mjs [FILE]`. Equal sources give equal bytes.

import { readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = process.argv[2] ?? join(HERE, "..", "python", "lumen_mlir", "serve", "page.html");

/** Temml's style sheet without its font, which would be another file. Formulas take the browser's. */
const withoutFonts = {
  name: "without-fonts",
  setup({ onLoad }) {
    onLoad({ filter: /Temml-Local\.css$/ }, async ({ path }) => {
      const contents = (await readFile(path, "utf8")).replace(/@font-face\s*\{[^}]*\}/g, "");
      return { contents, loader: "css" };
    });
  },
};

const { outputFiles } = await build({
  absWorkingDir: HERE,
  entryPoints: { page: "src/main.tsx", style: "src/styles/all.css" },
  bundle: true,
  minify: true,
  write: false,
  outdir: "out",
  format: "esm",
  target: ["chrome123", "firefox125", "safari17.5"],
  charset: "utf8",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [withoutFonts],
});

const textOf = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text.trim();
const { dependencies } = JSON.parse(await readFile(join(HERE, "package.json"), "utf8"));
const libraries = Object.entries(dependencies).map(([name, version]) => `${name} ${version}`);
// In HTML a script ends at "</script", also within its texts, and "<!--" begins what hides that end.
const script = textOf("page.js").replace(/<\/script/gi, "<\\/script").replace(/<!--/g, "\\x3c!--");
const style = textOf("style.css");
if (/<\/style/i.test(style)) throw new Error("the style sheet contains its own end");
const fetched = /url\((?!#)[^)]*\)|@import/.exec(style.replace(/url\("data:[^"]*"\)/g, ""));
if (fetched !== null) throw new Error(`the style sheet fetches something: ${fetched[0]}`);

const parts = { LIBRARIES: libraries.join(", "), STYLE: style, SCRIPT: script };
const template = await readFile(join(HERE, "src", "page.html"), "utf8");
const page = template.replace(/@(LIBRARIES|STYLE|SCRIPT)@/g, (_, name) => parts[name]);
await writeFile(`${OUT}.new`, page);
await rename(`${OUT}.new`, OUT);
console.log(`${OUT}: ${page.length} characters`);
