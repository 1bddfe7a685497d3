// Pictures of files of splats in viewers made by others: one headless Chromium, one tab for each viewer.
//
//     node render.mjs CASES.json CHROMIUM OUT
//
// CASES.json is {folder, size, background, cases}: the folder of the files, pixels a side, the ground's display colour
// as three numbers of 0..1, and a list of {name, client, file, turn, camera}. The client is one of pages/*.mjs; turn
// (degrees about x, y and z, or missing) is what the viewer turns the splats by; camera is {position, target, fov},
// the field of view being vertical and in degrees. Writes OUT/NAME.png and prints {cases: {NAME: {splats, seconds}},
// outside, console}: addresses elsewhere that a page has asked for, and its errors and warnings.
import { createReadStream, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { load } from "./packages.mjs";

const puppeteer = await load("puppeteer-core");
const [casesFile, executablePath, out] = process.argv.slice(2);
const { folder, size, background, cases } = JSON.parse(readFileSync(casesFile, "utf8"));
mkdirSync(out, { recursive: true });

const places = {
  modules: process.env.HUMANSPLAT_NODE_MODULES,
  pages: join(dirname(fileURLToPath(import.meta.url)), "pages"),
  files: folder,
};
const kinds = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const THREE = "/modules/three/build";
const imports = {
  "three/addons/": "/modules/three/examples/jsm/",
  "three/tsl": `${THREE}/three.tsl.js`,
  "three/webgpu": `${THREE}/three.webgpu.js`,
  "@sparkjsdev/spark": "/modules/@sparkjsdev/spark/dist/spark.module.js",
  playcanvas: "/modules/playcanvas/build/playcanvas.mjs",
};

/** The page of a client. three.js has two builds of the same classes, for its two renderers. */
function html(client) {
  const three = `${THREE}/three.${client === "three" ? "webgpu" : "module"}.js`;
  return `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<style>html, body { margin: 0; overflow: hidden } canvas { display: block; width: ${size}px; height: ${size}px }</style>
<script type="importmap">${JSON.stringify({ imports: { three, ...imports } })}</script>
<canvas id="view" width="${size}" height="${size}"></canvas>
<script type="module">
import { start } from "/pages/${client}.mjs";
try {
  self.client = { show: await start(document.getElementById("view"), ${size}, ${JSON.stringify(background)}) };
} catch (error) {
  self.client = { error: String(error.stack ?? error) };
}
</script>`;
}

const server = createServer((request, response) => {
  const [, place, ...rest] = new URL(request.url, "http://here").pathname.split("/");
  if (place === "view") return response.writeHead(200, { "Content-Type": "text/html" }).end(html(rest[0]));
  const path = join(places[place] ?? "", ...rest);
  if (!places[place] || !existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": kinds[extname(path)] ?? "application/octet-stream" });
  createReadStream(path).pipe(response);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}`;

const report = { cases: {}, outside: [], console: [] };
const browser = await puppeteer.launch({
  executablePath,
  args: [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--force-color-profile=srgb", "--disable-lcd-text",
  ],
  defaultViewport: { width: size, height: size, deviceScaleFactor: 1 },
  protocolTimeout: 120_000,
});
try {
  for (const client of new Set(cases.map((one) => one.client))) {
    const page = await browser.newPage();
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(origin) && !/^(blob|data):/.test(url)) report.outside.push(url);
    });
    page.on("console", (line) => {
      const ours = ["error", "warn"].includes(line.type()) && !line.text().includes("GL Driver Message");
      if (ours) report.console.push(`${client}: ${line.text()}`);
    });
    page.on("pageerror", (error) => report.console.push(`${client}: ${error}`));
    await page.goto(`${origin}/view/${client}`);
    await page.waitForFunction(() => self.client, { timeout: 60_000 });
    const error = await page.evaluate(() => self.client.error);
    if (error) throw new Error(`${client}: ${error}`);
    for (const { name, file, turn = [0, 0, 0], camera } of cases.filter((one) => one.client === client)) {
      const began = Date.now();
      const asked = { url: `${origin}/files/${file}`, turn, camera };
      const said = await page.evaluate((what) => self.client.show(what), asked);
      await page.screenshot({ path: join(out, `${name}.png`) });
      report.cases[name] = { ...said, seconds: (Date.now() - began) / 1000 };
    }
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(report));
