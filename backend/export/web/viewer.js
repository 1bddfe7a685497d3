// The page: a camera on an orbit, a row of controls, and frames drawn when something has changed.
import { PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { SparkRenderer } from "@sparkjsdev/spark";
import { readAvatar } from "humansplat/avatar.js";

const FIELD_OF_VIEW = 35; // degrees, vertical
const ROOM = 1.12; // how much larger than the avatar the first view is
const SHARPEST = 2; // device pixels for a pixel of the page, at most: more costs time and shows nothing
const still = matchMedia("(prefers-reduced-motion: reduce)");
const find = (id) => document.getElementById(id);

/**
 * Shows an avatar.
 * @param {ArrayBuffer} bytes a GLB
 * @param {object} state what scripts may read and call: `window.humansplat`
 * @param {(sentence: string) => void} stop says that the page cannot go on
 */
export async function start(bytes, state, stop) {
  const canvas = find("view");
  const renderer = new WebGLRenderer({ canvas, alpha: true, antialias: false, powerPreference: "high-performance" });
  const scene = new Scene();
  const camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.02, 200);
  const controls = new OrbitControls(camera, canvas);
  let dirty = true;
  const spark = new SparkRenderer({
    renderer, onDirty: () => (dirty = true), enableLod: false,
    // Linear blend skinning shears splats: Spark needs their covariances for it.
    accumExtSplats: true, covSplats: true,
    // As splats are trained and as other viewers draw them: widened by 0.3 square pixels, drawn by depth.
    preBlurAmount: 0.3, blurAmount: 0, sortRadial: false,
  });
  const avatar = await readAvatar(bytes);
  scene.add(spark, avatar.scene, avatar.mesh);
  await avatar.mesh.initialized;

  let [clip, time, speed, playing] = [-1, 0, 1, false];
  const followed = new Vector3();

  // ---- what moves

  function pose() {
    avatar.pose(time);
    // The camera goes where the avatar goes, over the ground.
    const place = avatar.mover.getWorldPosition(new Vector3()).setY(0);
    const step = place.clone().sub(followed);
    followed.copy(place);
    camera.position.add(step);
    controls.target.add(step);
    find("time").value = time;
    find("clock").value = `${time.toFixed(1)} / ${avatar.seconds(clip).toFixed(1)} s`;
    dirty = true;
  }

  function seek(seconds) {
    const length = avatar.seconds(clip);
    time = length > 0 ? ((seconds % length) + length) % length : 0;
    pose();
  }

  function play(on) {
    playing = on && avatar.seconds(clip) > 0;
    find("play").classList.toggle("playing", playing);
    find("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  function choose(number) {
    clip = number;
    const moves = avatar.seconds(clip) > 0;
    avatar.choose(clip);
    find("clip").value = clip;
    find("time").max = avatar.seconds(clip) || 1;
    find("time").disabled = find("play").disabled = !moves;
    time = 0;
    pose();
  }

  function reset() {
    const box = avatar.box();
    const size = box.getSize(new Vector3());
    const slope = Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
    const away = Math.max(size.y / 2, size.x / 2 / camera.aspect) * (ROOM / slope) + size.z / 2;
    controls.autoRotate = false;
    find("turn").setAttribute("aria-pressed", "false");
    const middle = box.getCenter(new Vector3());
    look(middle.clone().add(new Vector3(0, 0, away)), middle, FIELD_OF_VIEW);
    controls.minDistance = away / 20;
    controls.maxDistance = away * 5;
  }

  function look(position, target, fov) {
    camera.fov = fov;
    camera.updateProjectionMatrix();
    controls.enableDamping = false;
    controls.update(); // a view that still glides arrives first
    controls.target.copy(target);
    camera.position.copy(position);
    controls.update();
    controls.enableDamping = !still.matches;
    dirty = true;
  }

  // ---- frames

  function resize() {
    const { clientWidth: width, clientHeight: height } = canvas.parentElement;
    if (!width || !height) return;
    renderer.setPixelRatio(Math.min(devicePixelRatio, SHARPEST));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    draw(); // at once, since a canvas is empty after its size has changed
  }

  function draw() {
    dirty = false;
    renderer.render(scene, camera);
    state.frames += 1;
  }

  let before = 0;
  function frame(now) {
    const seconds = Math.min((now - before) / 1000, 0.25); // a page that was in the background does not leap
    before = now;
    if (playing) seek(time + seconds * speed);
    controls.update(seconds);
    if (dirty) draw();
  }

  // ---- controls

  const titles = avatar.clips.map((entry, i) => new Option(entry.name || `Motion ${i + 1}`, i));
  find("clip").append(...titles, new Option("Rest pose", -1));
  find("transport").hidden = find("clip").hidden = find("speed").hidden = avatar.clips.length === 0;
  find("clip").onchange = (event) => {
    const was = playing;
    choose(Number(event.target.value));
    play(was || !still.matches);
  };
  find("speed").onchange = (event) => (speed = Number(event.target.value));
  find("play").onclick = () => play(!playing);
  find("time").oninput = (event) => {
    play(false);
    // The end is the beginning of the next round: stay before it.
    seek(Math.min(Number(event.target.value), avatar.seconds(clip) * 0.9999));
  };
  function paint() {
    const kind = find("background").value;
    find("colour").hidden = kind !== "colour";
    canvas.parentElement.dataset.background = kind;
    canvas.parentElement.style.setProperty("--colour", find("colour").value);
  }
  find("background").onchange = find("colour").oninput = paint;
  const turn = () => {
    controls.autoRotate = !controls.autoRotate;
    find("turn").setAttribute("aria-pressed", controls.autoRotate);
  };
  find("turn").onclick = turn;
  find("reset").onclick = reset;
  const fill = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.().catch(() => {});
  };
  find("full").hidden = !document.fullscreenEnabled; // phones of one maker have none
  find("full").onclick = fill;
  document.onfullscreenchange = () => find("full").setAttribute("aria-pressed", Boolean(document.fullscreenElement));
  find("about").onclick = () => find("box").showModal();

  function change(by) {
    const entries = [...find("clip").options].map((option) => Number(option.value));
    const next = entries[(entries.indexOf(clip) + by + entries.length) % entries.length];
    choose(next);
    play(playing);
  }
  const keys = {
    " ": () => play(!playing),
    ArrowLeft: () => (play(false), seek(time - avatar.step(clip))),
    ArrowRight: () => (play(false), seek(time + avatar.step(clip))),
    ArrowUp: () => change(-1),
    ArrowDown: () => change(1),
    t: turn,
    r: reset,
    f: fill,
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || find("box").open) return;
    // What has the focus keeps the keys that it knows.
    if (event.target.matches("select, input[type=color]")) return;
    if (event.key === " " && event.target.matches("button")) return;
    const action = keys[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });

  controls.addEventListener("change", () => (dirty = true));
  controls.autoRotateSpeed = 2;
  canvas.addEventListener("webglcontextlost", () => stop("The graphics card has dropped this page: load it again."));

  // ---- for scripts

  /** Waits until what is shown is drawn with its splats in order. */
  async function settle() {
    do await new Promise(requestAnimationFrame);
    while (dirty || spark.sorting || spark.sortDirty);
  }
  function freeze() {
    play(false);
    if (controls.autoRotate) turn();
  }
  Object.assign(state, {
    splats: avatar.splats,
    frames: 0,
    clips: avatar.clips.map((entry) => ({ name: entry.name, seconds: entry.duration })),
    /** Shows clip number `number` (-1: the rest pose) at `seconds`, paused. */
    async setTime(number, seconds) {
      freeze();
      choose(number);
      seek(seconds);
      await settle();
    },
    /** Looks from `position` to `target` ([x, y, z], metres) with a vertical field of view in degrees. */
    async setCamera(position, target, fov) {
      freeze();
      [controls.minDistance, controls.maxDistance] = [0, Infinity];
      look(new Vector3(...position), new Vector3(...target), fov);
      await settle();
    },
    camera: () => ({ position: camera.position.toArray(), target: controls.target.toArray(), fov: camera.fov }),
    playing: () => playing,
    time: () => time,
  });

  find("panel").hidden = false;
  new ResizeObserver(resize).observe(canvas.parentElement);
  choose(avatar.clips.length > 0 ? 0 : -1);
  resize();
  reset();
  renderer.setAnimationLoop(frame);
  await settle();
  play(!still.matches);
}
