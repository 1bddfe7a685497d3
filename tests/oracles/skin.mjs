// three.js: node skin.mjs FILE.glb CLIP OUT.bin TIME... -> vertices of the first skinned mesh or points at each time.
// Also prints {"names": bones, "clips": [...], "vertices": N}.
import { writeFileSync } from "node:fs";
import { load, loadFile, withoutPictures } from "./packages.mjs";

globalThis.self = globalThis;
const THREE = await load("three");
const { GLTFLoader } = await loadFile("three/examples/jsm/loaders/GLTFLoader.js");
const [file, clipName, out, ...times] = process.argv.slice(2);
const gltf = await new GLTFLoader().parseAsync(withoutPictures(file), "");
let mesh = null;
gltf.scene.traverse((object) => {
  if (object.isSkinnedMesh) mesh ??= object;
});
gltf.scene.updateMatrixWorld(true);
const clip = gltf.animations.find((one) => one.name === clipName);
const mixer = new THREE.AnimationMixer(gltf.scene);
const action = mixer.clipAction(clip);
action.setLoop(THREE.LoopOnce, 1);
action.clampWhenFinished = true;
action.play();
const count = mesh.geometry.attributes.position.count;
const values = new Float32Array(times.length * count * 3);
const place = new THREE.Vector3();
times.forEach((time, index) => {
  mixer.setTime(Number(time));
  gltf.scene.updateMatrixWorld(true);
  mesh.skeleton.update();
  for (let vertex = 0; vertex < count; vertex += 1) {
    mesh.getVertexPosition(vertex, place).applyMatrix4(mesh.matrixWorld).toArray(values, (index * count + vertex) * 3);
  }
});
writeFileSync(out, new Uint8Array(values.buffer));
const names = mesh.skeleton.bones.map((bone) => bone.name);
console.log(JSON.stringify({ names, clips: gltf.animations.map((one) => one.name), vertices: count }));
