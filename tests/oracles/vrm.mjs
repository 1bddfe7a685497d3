// three-vrm: node vrm.mjs FILE.vrm -> {"bones": {name: node}, "meta": {...}}; fails where a required bone is missing.
import { load, loadFile, withoutPictures } from "./packages.mjs";

globalThis.self = globalThis;
const { VRMLoaderPlugin } = await load("@pixiv/three-vrm");
const { GLTFLoader } = await loadFile("three/examples/jsm/loaders/GLTFLoader.js");
const loader = new GLTFLoader();
loader.register((parser) => new VRMLoaderPlugin(parser));
const gltf = await loader.parseAsync(withoutPictures(process.argv[2]), "");
const { vrm } = gltf.userData;
const bones = {};
for (const [name, bone] of Object.entries(vrm.humanoid.humanBones)) {
  vrm.scene.updateMatrixWorld(true);
  bones[name] = { node: bone.node.name, place: bone.node.matrixWorld.elements.slice(12, 15) };
}
console.log(JSON.stringify({ bones, meta: vrm.meta }));
