"""Scanned and modelled people from a folder as figures: GLB, OBJ and PLY files with textures or vertex colours.

Layouts that are understood: files anywhere in one folder or one folder below it; THuman2.0 (``NAME/NAME.obj`` with
``material0.jpeg``, parameters in ``smplx_param.pkl`` beside it or in a sibling folder ``*smpl*/NAME/``); 2K2K
(``NAME/NAME.ply`` with vertex colours). Characters come as their files hold them: a rig's bind pose.

Every scan is put upright, into metres, on the ground, and turned to face +z. What a file does not say is guessed, and
written here: up is y, or z where the figure is much taller along it; a height between 0.5 and 2.6 is metres, a hundred
or a thousand times that is centimetres or millimetres, anything else becomes 1.7 m; the front is where the toes point.
Body parts come from the nearest joints of the body where its parameters and a licensed body file are given, else from
heights and distances from the middle: hair counts as head then, and hands that hang beside the hips as arms.
"""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...body.model import BodyModel, load_body
from ...errors import BackendError
from .figure import PART_INDEX, Figure, Surface, TrueBody

SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
_GLOSS = 0.05
_USUAL_HEIGHT = 1.7
_PART_OF_JOINT = [PART_INDEX[name] for name in (
    "torso legs legs torso legs legs torso feet feet torso feet feet head torso torso head arms arms arms arms "
    "hands hands hands hands"
).split()]  # fmt: skip


@dataclass(frozen=True)
class TextureMaterial:
    """Colours from pictures. ``corners`` [n, 5] are u, v (v up) and a linear colour that the picture is multiplied by.

    Attributes:
        textures: uint8 [H, W, 3] sRGB each.
        texture: int64 [F], the texture of each face, -1 for none.
    """

    textures: tuple[torch.Tensor, ...]
    texture: torch.Tensor

    def __call__(self, face: torch.Tensor, corners: torch.Tensor) -> Surface:
        albedo = corners[:, 2:5].clone()
        chosen = self.texture[face]
        for number, picture in enumerate(self.textures):
            here = torch.nonzero(chosen == number)[:, 0]
            albedo[here] *= sample_texture(picture, corners[here, :2])
        return Surface(albedo.clamp(0, 1), torch.full_like(albedo[:, 0], _GLOSS))


def sample_texture(picture: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """Linear colours [n, 3] of ``picture`` (uint8 [H, W, 3] sRGB) at ``uv`` [n, 2], v up, repeated, bilinear."""
    height, width = picture.shape[:2]
    x, y = (uv[:, 0] % 1) * width - 0.5, ((1 - uv[:, 1]) % 1) * height - 0.5
    left, top = x.floor(), y.floor()
    x, y = (x - left)[:, None], (y - top)[:, None]
    left, top = left.long() % width, top.long() % height
    right, bottom = (left + 1) % width, (top + 1) % height
    curve = _to_linear(torch.arange(256, device=uv.device) / 255)
    flat = picture.reshape(-1, 3)
    a, b, c, d = (curve[flat[row * width + column].long()] for row in (top, bottom) for column in (left, right))
    return (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y


def _to_linear(srgb: torch.Tensor) -> torch.Tensor:
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True)
class _Mesh:
    """A file's triangles, float64: vertices [V, 3], faces int64 [F, 3], corners [F, 3, 5], texture int64 [F]."""

    vertices: np.ndarray
    faces: np.ndarray
    corners: np.ndarray
    texture: np.ndarray
    textures: tuple[np.ndarray, ...]


def _unreadable(path: Path, why: str) -> BackendError:
    return BackendError("scan_unreadable", f"The scan {path.name} cannot be used: {why}.", "Remove or repair the file.")


def _read_mesh(path: Path) -> _Mesh:
    try:
        import trimesh
    except ImportError as error:
        raise BackendError(
            "package_missing",
            "Reading scans needs the package trimesh, which is not installed.",
            "Run `pip install trimesh` in the backend's environment.",
        ) from error
    try:
        parts = trimesh.load_scene(path, process=False).dump()
    except Exception as error:  # a damaged file may fail in any way at all
        raise _unreadable(path, str(error).rstrip(".") or type(error).__name__) from error
    vertices, faces, corners, texture, textures, count = [], [], [], [], [], 0
    for part in parts:
        if not isinstance(part, trimesh.Trimesh) or len(part.faces) == 0:
            continue
        picture, values = _appearance(part)
        at = np.asarray(part.faces, np.int64)
        vertices.append(np.asarray(part.vertices, float))
        faces.append(at + count)
        corners.append(values)
        texture.append(np.full(len(at), -1 if picture is None else len(textures)))
        textures += [] if picture is None else [picture]
        count += len(part.vertices)
    if not faces:
        raise _unreadable(path, "it holds no triangles")
    points = np.concatenate(vertices)
    if not np.isfinite(points).all() or np.ptp(points, 0).max() <= 0:
        raise _unreadable(path, "its points are not finite or all in one place")
    return _Mesh(points, np.concatenate(faces), np.concatenate(corners), np.concatenate(texture), tuple(textures))


def _appearance(part: Any) -> tuple[np.ndarray | None, np.ndarray]:
    """A mesh's texture, uint8 [H, W, 3] or None, and its corners [F, 3, 5] (see :class:`TextureMaterial`)."""
    faces = np.asarray(part.faces)
    out = np.zeros((len(faces), 3, 5))
    out[..., 2:] = 0.5
    visual, picture = part.visual, None
    if visual.kind == "texture":
        material = visual.material
        image = getattr(material, "baseColorTexture", None)
        image = getattr(material, "image", None) if image is None else image
        factor = getattr(material, "baseColorFactor", None)
        if factor is None and image is None:
            factor = getattr(material, "diffuse", None)
        out[..., 2:] = (
            1.0 if factor is None else _colour(np.asarray(factor), linear=hasattr(material, "baseColorFactor"))
        )
        if image is not None and visual.uv is not None:
            picture = np.asarray(image.convert("RGB"))
            out[..., :2] = np.asarray(visual.uv)[faces]
    elif visual.kind == "vertex":
        out[..., 2:] = _colour(np.asarray(visual.vertex_colors))[faces]
    elif visual.kind == "face":
        out[..., 2:] = _colour(np.asarray(visual.face_colors))[:, None]
    return picture, out


def _colour(values: np.ndarray, linear: bool = False) -> np.ndarray:
    """Linear colours [..., 3] of sRGB ones (or linear ones), 0..255 where they are integers."""
    scaled = values[..., :3] / (255.0 if np.issubdtype(values.dtype, np.integer) else 1.0)
    return scaled if linear else _to_linear(torch.as_tensor(scaled)).numpy()


class _NumbersOnly(pickle.Unpickler):
    """Unpickles containers, numbers and numpy arrays; runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"ndarray": np.ndarray, "dtype": np.dtype, "_reconstruct": np.empty(0).__reduce__()[0],
                   "scalar": np.float64(0).__reduce__()[0], "_frombuffer": np.empty(0).__reduce_ex__(5)[0]}  # fmt: skip
        if module.split(".")[0] == "numpy" and name in allowed:
            return allowed[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which no array needs")


@dataclass(frozen=True)
class _Parameters:
    """SMPL or SMPL-X parameters of a scan; a posed body's points p lie in the scan at ``scale * p + shift``."""

    pose: np.ndarray
    betas: np.ndarray
    scale: float
    shift: np.ndarray


def _find_parameters(path: Path) -> Path | None:
    """The parameter file that belongs to a scan."""
    name = path.stem
    candidates = [p for p in sorted(path.parent.iterdir()) if "smpl" in p.name.lower() or p.stem == name]
    for folder in [path.parent.parent, path.parent.parent.parent]:
        for beside in sorted(folder.glob("*[sS][mM][pP][lL]*")):
            if beside.is_dir():
                candidates += sorted((beside / name).glob("*")) + sorted(beside.glob(f"{name}*"))
    return next((p for p in candidates if p.suffix.lower() in (".pkl", ".npz", ".json") and p.is_file()), None)


def _read_parameters(path: Path) -> _Parameters:
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                content = dict(file)
        elif path.suffix.lower() == ".json":
            content = json.loads(path.read_text())
        else:
            with path.open("rb") as stream:
                content = _NumbersOnly(stream, encoding="latin1").load()
        values = {key: np.asarray(value, float).reshape(-1) for key, value in content.items() if _numeric(value)}
        whole = values["pose"] if "pose" in values else np.concatenate([values["global_orient"], values["body_pose"]])
        pose = np.zeros(72)
        pose[: min(66, len(whole))] = whole[:66]  # SMPL-X's fingers and face follow its 22 joints
        shift = next((values[key] for key in ("transl", "translation", "trans") if key in values), np.zeros(3))
        scale = float(values["scale"][0]) if "scale" in values else 1.0
        return _Parameters(pose.reshape(24, 3), values["betas"][:10], scale, shift)
    except Exception as error:  # see _read_mesh
        raise _unreadable(path, f"its body parameters are unknown to us ({error})") from error


def _numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "fiu"
    except ValueError:
        return False


def _turn(degrees: float) -> np.ndarray:
    """Rotation [3, 3] about y."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def upright(points: np.ndarray) -> np.ndarray:
    """Rotation and scale [3, 3] that put a figure upright in metres; see the module for what is guessed."""
    extent = np.ptp(points, 0)
    turn = np.eye(3)
    if extent[2] > 1.3 * extent[1]:
        turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    height = float(np.ptp(points @ turn.T, 0)[1])
    unit = next((u for u in (1.0, 0.01, 0.001) if 0.5 <= height * u <= 2.6), _USUAL_HEIGHT / height)
    return unit * turn


def toes_direction(points: np.ndarray) -> float:
    """Azimuth in degrees of where the feet of an upright figure point; 0 (+z) where they do not say."""
    height = points[:, 1] - points[:, 1].min()
    total = height.max()
    feet, ankles = points[height < 0.03 * total], points[(height > 0.055 * total) & (height < 0.09 * total)]
    if len(feet) == 0 or len(ankles) == 0:
        return 0.0
    # The middle of the boxes: it does not follow where a mesh has more vertices.
    step = [(p[:, [0, 2]].min(0) + p[:, [0, 2]].max(0)) / 2 for p in (feet, ankles)]
    ahead = step[0] - step[1]
    return math.degrees(math.atan2(ahead[0], ahead[1])) if np.linalg.norm(ahead) > 0.012 * total else 0.0


def parts_by_height(points: np.ndarray) -> np.ndarray:
    """Body parts int64 [n] of points of an upright figure that faces +z, guessed from where they lie."""
    low, high = points[:, 1].min(), points[:, 1].max()
    height = (points[:, 1] - low) / (high - low)
    core = points[(height > 0.5) & (height < 0.6)]
    middle = np.median((core if len(core) else points)[:, 0])
    aside = np.abs(points[:, 0] - middle) / (high - low)
    out = np.full(len(points), PART_INDEX["torso"])
    out[height < 0.47] = PART_INDEX["legs"]
    out[height < 0.045] = PART_INDEX["feet"]
    out[(height > 0.35) & (aside > 0.125)] = PART_INDEX["arms"]
    # A raised or spread arm ends in a hand; the reach of an arm is 0.44 of the height.
    out[(height > 0.6) & (aside > 0.37)] = PART_INDEX["hands"]
    out[(height > 0.87) & (aside < 0.1)] = PART_INDEX["head"]
    return out


def _parts_by_body(points: np.ndarray, body: BodyModel, posed: np.ndarray) -> np.ndarray:
    """Body parts int64 [n] from the nearest of every fourth vertex of the posed body."""
    part = torch.tensor(_PART_OF_JOINT)[body.weights.argmax(1)][::4]
    surface = torch.as_tensor(posed[::4]).float()
    near = [torch.cdist(chunk, surface).argmin(1) for chunk in torch.as_tensor(points).float().split(8192)]
    return part[torch.cat(near)].numpy()


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3], the same for all vertices at one place: texture seams do not show."""
    _, same = np.unique(np.round(vertices, 5), axis=0, return_inverse=True)
    same = same.reshape(-1)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros((same.max() + 1, 3))
    for axis in range(3):
        for k in range(3):
            total[:, axis] += np.bincount(same[faces[:, k]], normal[:, axis], len(total))
    total = total[same]
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


class ScanFolder:
    """The figures of a folder, by index: a source for ``make_sample``.

    Args:
        folder: see the module for its layouts.
        body_file: the user's own SMPL or SMPL-X file, of the kind that the scans' parameters are of; with it, figures
            carry their true body, and they keep the facing that it has.
        device: of the figures.

    Raises:
        BackendError: kind ``scan_missing`` when the folder holds no scan.
    """

    def __init__(self, folder: Path, body_file: Path | None = None, device: torch.device | str = "cpu") -> None:
        found = [p for pattern in ("*", "*/*") for p in sorted(folder.glob(pattern)) if p.suffix.lower() in SUFFIXES]
        # Bodies that a data set has fitted to its scans lie beside them and are no scans.
        self.paths = [p for p in found if "smpl" not in p.stem.lower() and "smpl" not in p.parent.name.lower()]
        self.body_file, self.device = body_file, device
        self._body = None if body_file is None else load_body(body_file)
        if not self.paths:
            raise BackendError(
                "scan_missing",
                f"There is no GLB, OBJ or PLY file in {folder}.",
                "Give the folder that holds the characters, or one folder for each of them.",
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __call__(self, index: int) -> Figure:
        """The figure number ``index``, counted round.

        Raises:
            BackendError: kinds ``scan_unreadable``, ``package_missing``.
        """
        path = self.paths[index % len(self.paths)]
        mesh = _read_mesh(path)
        parameter_file = _find_parameters(path)
        parameters = None if parameter_file is None else _read_parameters(parameter_file)
        points, body, part = self._place(mesh.vertices, parameters)
        middle = points[mesh.faces].mean(1)
        part = parts_by_height(middle) if part is None else part[mesh.faces[:, 0]]

        def tensor(values: np.ndarray, kind: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.as_tensor(values, dtype=kind, device=self.device)

        return Figure(
            vertices=tensor(points),
            normals=tensor(_vertex_normals(points, mesh.faces)),
            faces=tensor(mesh.faces, torch.int64),
            corners=tensor(mesh.corners),
            part=tensor(part, torch.int64),
            # Cloth and hair of a scan or a character are often single sheets.
            two_sided=torch.ones(len(mesh.faces), dtype=torch.bool, device=self.device),
            material=TextureMaterial(
                tuple(tensor(t.copy(), torch.uint8) for t in mesh.textures), tensor(mesh.texture, torch.int64)
            ),
            body=body,
        )

    def _place(
        self, vertices: np.ndarray, parameters: _Parameters | None
    ) -> tuple[np.ndarray, TrueBody | None, np.ndarray | None]:
        """Vertices where they belong, the body, and body parts by vertex where the body tells them."""
        if parameters is None:
            points = vertices @ upright(vertices).T
            points = points @ _turn(-toes_direction(points)).T
        else:
            points = (vertices - parameters.shift) / parameters.scale
        low, high = points.min(0), points.max(0)
        origin = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        if parameters is None or self._body is None:
            points = points - origin
            if parameters is not None:
                points = points @ _turn(-toes_direction(points)).T
            return points, None, None
        betas, pose = torch.zeros(10, dtype=torch.float64), torch.as_tensor(parameters.pose)
        betas[: len(parameters.betas)] = torch.as_tensor(parameters.betas)
        posed, joints = self._body.pose(pose, betas)
        part = _parts_by_body(points, self._body, posed.numpy())
        shift = -torch.as_tensor(np.array([float(joints[0, 0]), origin[1], float(joints[0, 2])]))
        body = TrueBody(str(self.body_file), betas, pose, shift, joints + shift)
        return points + shift.numpy(), body, part
