// Fails if the JavaScript of the first view is larger than its limit.
// What is loaded later, the Markdown renderer and the other views, is listed and has no limit.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const MAX_FIRST_VIEW_BYTES = 60 * 1024;
const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist), "utf8"));
const entry = Object.entries(manifest).find(([, chunk]) => chunk.isEntry);
if (!entry) throw new Error("the manifest has no entry: run `npm run build`");

const size = (file) => gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length;

/** The chunks that are loaded with this one, itself included. */
function loadedWith(key, found = new Set()) {
  if (!found.has(key)) {
    found.add(key);
    for (const each of manifest[key].imports ?? []) loadedWith(each, found);
  }
  return found;
}

const first = loadedWith(entry[0]);
const later = Object.keys(manifest).filter((key) => !first.has(key) && manifest[key].file.endsWith(".js"));
let total = 0;
for (const key of first) {
  const bytes = size(manifest[key].file);
  total += bytes;
  console.log(`${String(bytes).padStart(7)}  ${manifest[key].file}`);
}
console.log(`${String(total).padStart(7)}  JavaScript of the first view, gzipped; at most ${MAX_FIRST_VIEW_BYTES}`);
for (const key of later) console.log(`${String(size(manifest[key].file)).padStart(7)}  ${manifest[key].file} (later)`);
if (total > MAX_FIRST_VIEW_BYTES) {
  console.error("The first view is too large.");
  process.exit(1);
}
