// Khronos's validator: node validate.mjs FILE.glb -> {"errors": {code: count}, "warnings": {...}} on standard output.
import { readFileSync } from "node:fs";
import { load } from "./packages.mjs";

const validator = await load("gltf-validator");
const report = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])), { maxIssues: 0 });
const counts = { errors: {}, warnings: {} };
for (const issue of report.issues.messages) {
  const kind = ["errors", "warnings"][issue.severity];
  if (kind) counts[kind][issue.code] = (counts[kind][issue.code] ?? 0) + 1;
}
console.log(JSON.stringify(counts));
