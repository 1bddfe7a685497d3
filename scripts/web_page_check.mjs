// Opens an exported web page from disk in headless Chromium without a network, and says how it went as JSON.
//
//     node scripts/web_page_check.mjs PAGE [--shots SHOTS.json] [--output FOLDER] [--seconds 3] [--touch]
//
// SHOTS.json is a list of pictures: {name, width, height, scale, phone, bare, clip, time, position, target, fov,
// script}; all but the name may be missing. Needs puppeteer-core: HUMANSPLAT_NODE_MODULES names the node_modules it is
// in (otherwise .venvs/node/node_modules), HUMANSPLAT_CHROMIUM the browser (otherwise /usr/bin/chromium). WebGL runs
// in software, so frames a second say little about a real graphics card.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = process.env.HUMANSPLAT_NODE_MODULES ?? join(root, ".venvs", "node", "node_modules");
const found = createRequire(join(resolve(modules), "here.js")).resolve("puppeteer-core");
const { default: puppeteer } = await import(pathToFileURL(found));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shots: { type: "string" },
    output: { type: "string", default: "." },
    seconds: { type: "string", default: "0" },
    touch: { type: "boolean", default: false },
  },
});
const shots = values.shots ? JSON.parse(readFileSync(values.shots, "utf8")) : [];
mkdirSync(values.output, { recursive: true });

const browser = await puppeteer.launch({
  executablePath: process.env.HUMANSPLAT_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
  protocolTimeout: 600_000,
});
const report = { requests: [], console: [] };
try {
  const page = await browser.newPage();
  await page.setOfflineMode(true);
  page.on("request", (request) => {
    const url = request.url();
    if (!/^(file|blob|data):/.test(url)) report.requests.push(url);
  });
  page.on("console", (line) => {
    if (["error", "warn"].includes(line.type())) report.console.push(line.text());
  });
  page.on("pageerror", (error) => report.console.push(String(error)));
  await page.setViewport({ width: 640, height: 480 });
  const began = Date.now();
  const target = positionals[0];
  await page.goto(/^https?:/.test(target) ? target : pathToFileURL(resolve(target)).href);
  await page.waitForFunction(() => window.humansplat?.ready || window.humansplat?.error, { timeout: 120_000 });
  report.readySeconds = (Date.now() - began) / 1000;
  Object.assign(report, await page.evaluate(() => {
    const { ready, error, splats, clips } = window.humansplat;
    return { ready, error, splats, clips, message: document.getElementById("message").textContent };
  }));
  if (report.ready) {
    for (const shot of shots) await take(page, shot);
    if (values.touch) report.touch = await touch(page);
    if (Number(values.seconds) > 0) report.framesPerSecond = await framesPerSecond(page, Number(values.seconds));
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(report, null, 1));

async function take(page, shot) {
  const { width = 640, height = 640, scale = 1, phone = false } = shot;
  await page.setViewport({ width, height, deviceScaleFactor: scale, isMobile: phone, hasTouch: phone });
  if (phone) await page.reload(); // the page is opened on a phone, it does not become one
  await page.waitForFunction(() => window.humansplat?.ready, { timeout: 120_000 });
  await page.evaluate(async (asked) => {
    document.body.classList.toggle("bare", Boolean(asked.bare));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (asked.clip !== undefined) await window.humansplat.setTime(asked.clip, asked.time ?? 0);
    if (asked.position) await window.humansplat.setCamera(asked.position, asked.target, asked.fov);
    if (asked.script) await (0, eval)(asked.script);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }, shot);
  await page.screenshot({ path: join(values.output, `${shot.name}.png`) });
}

/** What one finger, two fingers apart and two fingers side by side do to the camera. */
async function touch(page) {
  await page.setViewport({ width: 390, height: 844, isMobile: true, hasTouch: true });
  await page.reload();
  await page.waitForFunction(() => window.humansplat?.ready, { timeout: 120_000 });
  await page.evaluate(() => window.humansplat.setTime(-1, 0));
  const client = await page.createCDPSession();
  const camera = () => page.evaluate(() => window.humansplat.camera());
  const send = (type, points) =>
    client.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  async function gesture(path) {
    const before = await camera();
    await send("touchStart", path[0]);
    for (const points of path.slice(1)) await send("touchMove", points);
    await send("touchEnd", []);
    await new Promise((done) => setTimeout(done, 800));
    return [before, await camera()];
  }
  const steps = [...Array(11).keys()];
  const minus = (a, b) => a.map((x, i) => x - b[i]);
  const length = (a) => Math.hypot(...a);
  const away = ({ position, target }) => length(minus(position, target));
  const [a, b] = await gesture(steps.map((k) => [[120 + 10 * k, 300]]));
  const [c, d] = await gesture(steps.map((k) => [[180 - 6 * k, 300], [210 + 6 * k, 300]]));
  const [e, f] = await gesture(steps.map((k) => [[150 + 8 * k, 300], [210 + 8 * k, 300]]));
  const sizes = await page.evaluate(() =>
    [...document.querySelectorAll("#panel button, #panel select, #panel input")]
      .map((part) => [part.id, part.getBoundingClientRect()])
      .filter(([, box]) => box.width > 0)
      .map(([id, box]) => [id, Math.round(box.width), Math.round(box.height)]));
  return {
    turnedDegrees: (Math.atan2(...[0, 2].map((k) => minus(b.position, b.target)[k]))
      - Math.atan2(...[0, 2].map((k) => minus(a.position, a.target)[k]))) * (180 / Math.PI),
    pinchTimes: away(c) / away(d),
    pannedMetres: length(minus(f.target, e.target)),
    smallest: Math.min(...sizes.flatMap(([, width, height]) => [width, height])),
    sidewaysScroll: await page.evaluate(() => document.documentElement.scrollWidth > innerWidth),
  };
}

/** Frames drawn each second while the first clip plays. */
async function framesPerSecond(page, seconds) {
  await page.setViewport({ width: 640, height: 640 });
  await page.reload();
  await page.waitForFunction(() => window.humansplat?.ready, { timeout: 120_000 });
  return page.evaluate(async (length) => {
    const [before, began] = [window.humansplat.frames, performance.now()];
    await new Promise((done) => setTimeout(done, 1000 * length));
    return (1000 * (window.humansplat.frames - before)) / (performance.now() - began);
  }, seconds);
}
