// Packages of HUMANSPLAT_NODE_MODULES, which lies outside this folder.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.env.HUMANSPLAT_NODE_MODULES;
const require = createRequire(join(folder, "anything.js"));

export async function load(name) {
  const module = await import(pathToFileURL(require.resolve(name)));
  return module.default && Object.keys(module).length === 1 ? module.default : module;
}

export async function loadFile(path) {
  return import(pathToFileURL(join(folder, path)));
}

// A GLB without its pictures, which loaders would want a browser for.
export function withoutPictures(file) {
  const data = readFileSync(file);
  const length = data.readUInt32LE(12);
  const document = JSON.parse(data.subarray(20, 20 + length).toString("utf8"));
  delete document.images;
  delete document.textures;
  for (const material of document.materials ?? []) delete material.pbrMetallicRoughness?.baseColorTexture;
  let text = Buffer.from(JSON.stringify(document));
  text = Buffer.concat([text, Buffer.alloc((4 - (text.length % 4)) % 4, 0x20)]);
  const rest = data.subarray(20 + length);
  const head = Buffer.alloc(20);
  data.copy(head, 0, 0, 20);
  head.writeUInt32LE(20 + text.length + rest.length, 8);
  head.writeUInt32LE(text.length, 12);
  const whole = Buffer.concat([head, text, rest]);
  return whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.length);
}
