// An avatar out of a GLB: Gaussian splats on bones, moved by linear blend skinning, and its clips.
import { AnimationMixer, Box3, Color, Matrix4, Quaternion, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { ExtSplats, SplatMesh, SplatSkinning, SplatSkinningMode } from "@sparkjsdev/spark";

const EXTENSION = "khr_gaussian_splatting:"; // the loader writes names of attributes it does not know in lower case
const MOST_BONES = 256; // of Spark
const THINNEST = 1e-6; // metres; a splat may have no thickness, the logarithm of its scale needs one
const SAMPLE = 16; // every so many splats say how large the avatar is

/** An error whose sentence is for whoever looks at the page. */
class Problem extends Error {
  constructor(sentence) {
    super(sentence);
    this.sentence = sentence;
  }
}

/** Reads `bytes`, an ArrayBuffer of a GLB. */
export async function readAvatar(bytes) {
  const gltf = await new GLTFLoader().parseAsync(bytes, "");
  let points = null;
  gltf.scene.traverse((object) => {
    if (object.isPoints && object.geometry.hasAttribute(`${EXTENSION}scale`)) points ??= object;
  });
  if (!points) throw new Problem("There are no Gaussian splats in this avatar's file: export it again.");
  const skeleton = await readSkeleton(gltf, points);
  points.removeFromParent(); // Spark draws them, three.js must not
  return new Avatar(gltf, points.geometry.attributes, skeleton);
}

/** The loader binds skins to triangles only: for points it is asked for the skin by its number. */
async function readSkeleton(gltf, points) {
  const mesh = gltf.parser.associations.get(points)?.meshes;
  const node = gltf.parser.json.nodes.find((entry) => entry.mesh === mesh && entry.skin !== undefined);
  if (!node) return null;
  const skeleton = await gltf.parser.getDependency("skin", node.skin);
  if (skeleton.bones.length > MOST_BONES) throw new Problem(`This avatar has more than ${MOST_BONES} bones.`);
  return skeleton;
}

class Avatar {
  #bones;
  #inverses;
  #matrices;
  #skinning = null;
  #mixer;
  #action = null;
  #positions;
  #pairs; // 4 words a splat: a weight of 0..255, and a bone shifted by 8 bits

  constructor(gltf, attributes, skeleton) {
    const splats = readSplats(attributes);
    this.scene = gltf.scene;
    this.clips = gltf.animations;
    this.splats = splats.numSplats;
    this.mesh = new SplatMesh({ extSplats: splats, covSplats: true, editable: false, raycastable: false });
    this.#positions = attributes.position;
    this.#bones = skeleton?.bones ?? [];
    this.#inverses = skeleton?.boneInverses ?? [];
    this.#matrices = this.#bones.map(() => new Matrix4());
    this.#mixer = new AnimationMixer(gltf.scene);
    if (skeleton && attributes.skinIndex && attributes.skinWeight) {
      this.#pairs = skinPairs(attributes.skinIndex, attributes.skinWeight, this.#bones.length);
      // Spark multiplies rest and pose the wrong way round, unless the rest is the identity, as it is when nothing is
      // said of it, and the pose is the whole matrix of skinning.
      this.#skinning = new SplatSkinning({
        mesh: this.mesh, numBones: this.#bones.length, mode: SplatSkinningMode.LINEAR_BLEND,
      });
      this.#skinning.skinData.set(this.#pairs);
      this.#skinning.skinTexture.needsUpdate = true;
      this.mesh.skinning = this.#skinning;
      this.mesh.updateGenerator();
    }
    this.mover = this.#findMover();
    this.pose();
  }

  /** Seconds of a clip; 0 of the rest pose. */
  seconds(clip) {
    return this.clips[clip]?.duration ?? 0;
  }

  /** Seconds from one key of a clip to the next. */
  step(clip) {
    const times = this.clips[clip]?.tracks.find((track) => track.times.length > 1)?.times;
    return times ? times[1] - times[0] : 1 / 30;
  }

  /** Chooses a clip by number; -1 is the rest pose. */
  choose(clip) {
    this.#mixer.stopAllAction();
    this.#action = this.clips[clip] ? this.#mixer.clipAction(this.clips[clip]).play() : null;
  }

  /** Poses the avatar as the chosen clip is at `time`, in seconds. */
  pose(time = 0) {
    if (this.#action) this.#action.time = time;
    this.#mixer.update(0);
    this.scene.updateMatrixWorld(true);
    this.#bones.forEach((bone, i) => {
      this.#matrices[i].multiplyMatrices(bone.matrixWorld, this.#inverses[i]);
      this.#skinning?.setBoneMatrix(i, this.#matrices[i]);
    });
    this.#skinning?.updateBones();
  }

  /** The box around the splats as they are posed. */
  box() {
    const box = new Box3();
    const [place, part, sum] = [new Vector3(), new Vector3(), new Vector3()];
    for (let i = 0; i < this.splats; i += SAMPLE) {
      place.fromBufferAttribute(this.#positions, i);
      if (this.#pairs) {
        sum.set(0, 0, 0);
        for (let k = 4 * i; k < 4 * i + 4; k++) {
          const weight = (this.#pairs[k] & 255) / 255;
          if (weight === 0) continue;
          sum.addScaledVector(part.copy(place).applyMatrix4(this.#matrices[this.#pairs[k] >> 8]), weight);
        }
        place.copy(sum);
      }
      box.expandByPoint(place);
    }
    return box;
  }

  /** The bone that carries the body through space: the first that a clip moves. */
  #findMover() {
    for (const clip of this.clips) {
      const track = clip.tracks.find((entry) => entry.name.endsWith(".position"));
      const bone = track && this.scene.getObjectByName(track.name.slice(0, -".position".length));
      if (bone) return bone;
    }
    return this.#bones[0] ?? this.scene;
  }
}

/** Splats in Spark's 32-byte form, whose textures exist before the splats are set: without them nothing is drawn. */
function readSplats(attributes) {
  const count = attributes.position.count;
  const need = (name) => {
    const attribute = attributes[EXTENSION + name];
    if (attribute?.count !== count) throw new Problem(`This avatar's splats lack ${name}: export it again.`);
    return attribute;
  };
  const [rotations, scales] = [need("rotation"), need("scale")];
  const [opacities, colours] = [need("opacity"), need("sh_degree_0_coef_0")];
  const room = Math.max(1, Math.ceil(count / 2048)) * 2048 * 4; // Spark's textures are 2048 wide
  const splats = new ExtSplats({ extArrays: [new Uint32Array(room), new Uint32Array(room)], numSplats: 0 });
  const [place, scale, rotation, colour] = [new Vector3(), new Vector3(), new Quaternion(), new Color()];
  for (let i = 0; i < count; i++) {
    place.fromBufferAttribute(attributes.position, i);
    scale.fromBufferAttribute(scales, i).clampScalar(THINNEST, Infinity);
    rotation.fromBufferAttribute(rotations, i).normalize();
    const opacity = opacities.getX(i);
    colour.setRGB(...[0, 1, 2].map((k) => 0.5 + 0.28209479177387814 * colours.getComponent(i, k)));
    if (!Number.isFinite(place.x + place.y + place.z + scale.x + scale.y + scale.z + rotation.w + opacity + colour.r)) {
      throw new Problem("This avatar's file holds splats that are not numbers: export it again.");
    }
    splats.setSplat(i, place, scale, rotation, opacity, colour);
  }
  return splats;
}

/** Weights as whole numbers that sum to 255, with their bones: what they would lack or exceed the largest one takes. */
function skinPairs(joints, weights, bones) {
  const pairs = new Uint16Array(4 * joints.count);
  for (let i = 0; i < joints.count; i++) {
    const share = [0, 1, 2, 3].map((k) => Math.max(0, weights.getComponent(i, k)));
    const total = share[0] + share[1] + share[2] + share[3];
    if (!(total > 0)) share[0] = 1;
    const whole = share.map((weight) => Math.round((255 * weight) / (total > 0 ? total : 1)));
    whole[share.indexOf(Math.max(...share))] += 255 - (whole[0] + whole[1] + whole[2] + whole[3]);
    for (let k = 0; k < 4; k++) {
      const bone = joints.getComponent(i, k);
      if (whole[k] > 0 && bone >= bones) {
        throw new Problem("This avatar's splats name bones that do not exist: export it again.");
      }
      pairs[4 * i + k] = whole[k] + (bone << 8);
    }
  }
  return pairs;
}
