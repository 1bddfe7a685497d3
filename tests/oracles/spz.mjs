// The official SPZ library as WebAssembly: node spz.mjs FILE.spz OUT.bin -> {"count": N}; positions, scales (ln),
// rotations (xyzw), alphas (logit) and colours (dc) as float32, one block after the other.
import { readFileSync, writeFileSync } from "node:fs";
import { load } from "./packages.mjs";

const spz = await (await load("@adobe/spz"))();
const [file, out] = process.argv.slice(2);
const data = new Uint8Array(readFileSync(file));
console.error(Object.keys(spz).filter((key) => !key.startsWith("_")).join(" "));
const cloud = spz.loadSpzFromBuffer(data, { to: spz.CoordinateSystem.UNSPECIFIED });
const blocks = ["positions", "scales", "rotations", "alphas", "colors"].map((name) => Float32Array.from(cloud[name]));
writeFileSync(out, Buffer.concat(blocks.map((block) => Buffer.from(block.buffer))));
console.log(JSON.stringify({ count: cloud.numPoints, degree: cloud.shDegree }));
