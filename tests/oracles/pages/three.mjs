// three.js's own splats, which want its WebGPU renderer; here on WebGL. It reads PLY, SPZ, .splat and glTF; raw
// numbers, y up.
import { LinearSRGBColorSpace, MathUtils, PerspectiveCamera, Color, Scene, WebGPURenderer } from "three/webgpu";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";
import { GaussianSplatPLYLoader } from "three/addons/loaders/GaussianSplatPLYLoader.js";
import { SPLATLoader } from "three/addons/loaders/SPLATLoader.js";
import { SPZLoader } from "three/addons/loaders/SPZLoader.js";
import { GaussianSplat } from "three/addons/objects/GaussianSplat.js";

const loaders = { ply: GaussianSplatPLYLoader, spz: SPZLoader, splat: SPLATLoader };

async function read(url) {
  const kind = url.split(".").pop();
  if (kind !== "glb") return new GaussianSplat(await new loaders[kind]().loadAsync(url));
  const loader = new GLTFLoader().register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
  return (await loader.loadAsync(url)).scene;
}

export async function start(canvas, size, background) {
  const renderer = new WebGPURenderer({ canvas, antialias: false, forceWebGL: true });
  await renderer.init();
  renderer.setSize(size, size, false);
  // Colours of splats are display colours already.
  renderer.outputColorSpace = LinearSRGBColorSpace;
  const scene = new Scene();
  scene.background = new Color().setRGB(...background, LinearSRGBColorSpace);
  const camera = new PerspectiveCamera(35, 1, 0.02, 200);
  let shown = null;

  return async function show({ url, turn, camera: { position, target, fov } }) {
    if (shown) scene.remove(shown);
    shown = await read(url);
    shown.rotation.set(...turn.map(MathUtils.degToRad));
    scene.add(shown);
    camera.fov = fov;
    camera.position.set(...position);
    camera.lookAt(...target);
    camera.updateProjectionMatrix();
    for (let frame = 0; frame < 3; frame++) {
      renderer.render(scene, camera);
      await new Promise(requestAnimationFrame);
    }
    let splats = 0;
    shown.traverse((object) => {
      if (object.isGaussianSplat) splats += object.splatGeometry.getAttribute("position").count;
    });
    return { splats };
  };
}
