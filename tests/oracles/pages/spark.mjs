// Spark, on three.js's WebGL renderer. It reads PLY, compressed PLY, SPZ and .splat; raw numbers, y up.
import { Color, MathUtils, PerspectiveCamera, Scene, WebGLRenderer } from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";

export async function start(canvas, size, background) {
  const renderer = new WebGLRenderer({ canvas, antialias: false });
  renderer.setSize(size, size, false);
  // Colours of splats are display colours, which Spark draws as they are; three.js would encode the ground's.
  const ground = new Color().setRGB(...background, "srgb");
  const scene = new Scene();
  scene.background = ground;
  const camera = new PerspectiveCamera(35, 1, 0.02, 200);
  // Splats as they are trained: widened by 0.3 square pixels, in the order of depth.
  const spark = new SparkRenderer({ renderer, enableLod: false, preBlurAmount: 0.3, blurAmount: 0, sortRadial: false });
  scene.add(spark);
  let mesh = null;

  return async function show({ url, turn, camera: { position, target, fov } }) {
    if (mesh) {
      scene.remove(mesh);
      mesh.dispose();
    }
    mesh = new SplatMesh({ url });
    mesh.rotation.set(...turn.map(MathUtils.degToRad));
    scene.add(mesh);
    await mesh.initialized;
    camera.fov = fov;
    camera.position.set(...position);
    camera.lookAt(...target);
    camera.updateProjectionMatrix();
    // Splats are sorted by a worker: some frames pass until what is drawn is in order.
    let quiet = 0;
    while (quiet < 5) {
      renderer.render(scene, camera);
      await new Promise(requestAnimationFrame);
      quiet = spark.dirty || spark.sorting || spark.sortDirty ? 0 : quiet + 1;
    }
    return { splats: mesh.numSplats };
  };
}
