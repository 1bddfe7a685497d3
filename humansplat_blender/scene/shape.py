"""Sliders for the body's shape, live and keyable: taller, heavier, and what else the shipped body model knows.

The model's shape directions become shape keys of the body mesh, so splats and clothed mesh follow as they follow poses.
Bones stay where they are: what a direction would move of the joints is taken back, by the skinning weights. Height is
the size of the root bone, which the splats' sizes follow as well. All sliders are custom properties of the armature
object and change nothing at 0; drivers without Python hand them on, so files keep working without the add-on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils.kdtree import KDTree

from . import convert, rig_parts
from .armature import unit
from .roles import PACKAGE, ImportedAvatar

TALLER = "Taller"
HEAVIER = "Heavier"
BODY_MODEL = "humansplat_body_model"
"""On the armature: the name of the body model that the avatar was made with."""
_HEAVIER_VOLUME = 0.2
"""How much of the naked body's volume `HEAVIER` adds at 1, its height the same."""
_DATA_FOLDER = Path(__file__).resolve().parents[2] / "backend" / "body" / "data"
_SHIPPED = "anny-"
_NEIGHBOURS = 4  # vertices of the body that those of clothes take their displacement from


@dataclass(frozen=True)
class Slider:
    """One property of the armature.

    Attributes:
        name: of the property and of its shape key.
        lowest, highest: its range.
        direction: number of the model's shape direction, which counts in standard deviations; None for the other two.
        description: for the artist.
    """

    name: str
    lowest: float
    highest: float
    direction: int | None
    description: str


SLIDERS = (
    Slider(TALLER, -0.3, 0.3, None, "Size of the whole person: 0.1 is a tenth taller, 0 as in the photo"),
    Slider(HEAVIER, -1.0, 2.0, None, "Weight at the same height: 1 is a fifth more volume, 0 as in the photo"),
    *(
        Slider(
            f"Shape {number + 1}",
            -2.0,
            2.0,
            number,
            f"Shape direction {number + 1} of the body model, in standard deviations",
        )
        for number in (1, 2, 3)
    ),
)


def has_shape_sliders(armature: bpy.types.Object) -> bool:
    """Whether :func:`add_shape_sliders` has been at work."""
    return all(slider.name in armature for slider in SLIDERS)


def add_shape_sliders(context: bpy.types.Context, avatar: ImportedAvatar) -> None:
    """Add the sliders of `SLIDERS` to the avatar's armature, all at 0; nothing where they are there.

    Args:
        context: whose view layer has the armature.
        avatar: from an import.

    Raises:
        ValueError: the avatar's body is no shipped one, has been changed, or cannot be edited; one sentence.
    """
    armature, body = avatar.armature, avatar.body
    if has_shape_sliders(armature):
        return
    rig_parts.check_editable(context, armature)
    root = rig_parts.root_bone(armature)
    if body.data.users > 1:
        raise ValueError(f"The mesh of {body.name} is shared with another object: make it a single user first.")
    directions = _directions(armature)
    displacements = _on_mesh(body.data, directions) * unit(armature)
    for slider in SLIDERS:
        armature[slider.name] = 0.0
        armature.id_properties_ui(slider.name).update(
            min=slider.lowest,
            max=slider.highest,
            soft_min=slider.lowest,
            soft_max=slider.highest,
            default=0.0,
            description=slider.description,
        )
        armature.property_overridable_library_set(f'["{slider.name}"]', True)
    if body.data.shape_keys is None:
        body.shape_key_add(name="Basis", from_mix=False)
    rest = _places(body.data)
    for slider, displacement in zip(SLIDERS[1:], displacements):
        key = body.shape_key_add(name=slider.name, from_mix=False)
        key.slider_min, key.slider_max = slider.lowest, slider.highest
        key.data.foreach_set("co", (rest + displacement).astype(np.float32).ravel())
        rig_parts.drive(key, "value", [_variable(slider)], armature)
    for axis in range(3):
        rig_parts.drive(root, "scale", [_variable(SLIDERS[0])], armature, index=axis, offset=1.0)
    body.data.update()
    armature.update_tag()
    context.view_layer.update()


def remove_shape_sliders(context: bpy.types.Context, avatar: ImportedAvatar) -> None:
    """Remove the sliders; the person is as in the photo again."""
    armature, body = avatar.armature, avatar.body
    if not has_shape_sliders(armature):
        return
    rig_parts.check_editable(context, armature)
    root = rig_parts.root_bone(armature)
    root.driver_remove("scale")
    root.scale = (1.0, 1.0, 1.0)
    for slider in SLIDERS:
        del armature[slider.name]
    keys = body.data.shape_keys
    for slider in SLIDERS[1:]:
        key = keys.key_blocks.get(slider.name) if keys is not None else None
        if key is not None:
            key.driver_remove("value")
            body.shape_key_remove(key)
    if keys is not None and len(keys.key_blocks) == 1:
        body.shape_key_remove(keys.key_blocks[0])
    armature.update_tag()
    context.view_layer.update()


def _variable(slider: Slider) -> tuple[str, dict[str, str]]:
    return "SINGLE_PROP", {"data_path": f'["{slider.name}"]'}


def _directions(armature: bpy.types.Object) -> np.ndarray:
    """Displacements [K, V, 3] metres, avatar space, of the shipped body's vertices for all sliders but the first."""
    name = _body_model(armature)
    path = _DATA_FOLDER / f"{name.removeprefix(_SHIPPED)}.npz"
    if not name.startswith(_SHIPPED) or not path.is_file():
        made_with = name or "an unknown one"
        raise ValueError(
            f"Shape sliders need a body that ships with HumanSplat, and this avatar was made with {made_with}."
        )
    with np.load(path, allow_pickle=False) as arrays:
        vertices, faces = arrays["v_template"].astype(np.float64), arrays["f"].astype(np.int64)
        shapes, weights = arrays["shapedirs"].astype(np.float64), arrays["weights"].astype(np.float64)
        regressor = arrays["J_regressor"].astype(np.float64)
    chosen = [
        np.eye(shapes.shape[2])[slider.direction] if slider.direction is not None else heavier(vertices, faces, shapes)
        for slider in SLIDERS[1:]
    ]
    moved = np.einsum("vik,sk->svi", shapes, np.array(chosen))
    # Joints that move with the skin are put back, and take along what hangs on them.
    return moved - np.einsum("vj,jw,swi->svi", weights, regressor, moved, optimize=True)


def heavier(vertices: np.ndarray, faces: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Betas [K] of the likeliest change that adds `_HEAVIER_VOLUME` to the volume and nothing to the height.

    Betas are standard deviations, so that is the shortest vector. The volume's derivative is a third of each triangle's
    area vector at its three corners (divergence theorem).

    Args:
        vertices: [V, 3] metres, y up.
        faces: int [F, 3], closed.
        shapes: [V, 3, K] metres.
    """
    corners = vertices[faces]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    gradient = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(gradient, faces[:, corner], area / 3)
    volume = np.einsum("ni,ni->", corners.mean(axis=1), area) / 3
    top, sole = vertices[:, 1].argmax(), vertices[:, 1].argmin()
    wanted = np.stack([np.einsum("vi,vik->k", gradient, shapes) / volume, shapes[top, 1] - shapes[sole, 1]])
    return np.linalg.lstsq(wanted, np.array([_HEAVIER_VOLUME, 0.0]), rcond=None)[0]


def _body_model(armature: bpy.types.Object) -> str:
    """The body model's name; files of older versions say it among the licences, or in the package."""
    if BODY_MODEL in armature:
        return str(armature[BODY_MODEL])
    name = str(armature.get("humansplat_licences", "")).partition(":")[0]
    if not name.startswith(_SHIPPED):
        try:
            text = (Path(str(armature.get(PACKAGE, ""))) / "avatar.json").read_text(encoding="utf-8")
            name = str(json.loads(text)["body_model"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return name


def _places(mesh: bpy.types.Mesh) -> np.ndarray:
    """Rest vertices [V, 3], float64."""
    places = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
    mesh.vertices.foreach_get("co", places)
    return places.reshape(-1, 3).astype(np.float64)


def _on_mesh(mesh: bpy.types.Mesh, directions: np.ndarray) -> np.ndarray:
    """Displacements [K, W, 3], Blender's axes, of a body object's mesh from those of the body model [K, V, 3].

    The first V vertices are the model's own. Sheets and the clothed mesh take the mean of their nearest, weighted by
    the inverse square of the distance.
    """
    places, own = _places(mesh), directions.shape[1]
    corners = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    # The surface that carries the splats has no faces.
    if (int(corners.min()) if len(corners) else len(places)) < own or len(places) < own:
        raise ValueError("The body mesh is not as it was imported: import the avatar again to add shape sliders.")
    tree = KDTree(own)
    for index, place in enumerate(places[:own].tolist()):
        tree.insert(place, index)
    tree.balance()
    found = [tree.find_n(place, _NEIGHBOURS) for place in places[own:].tolist()]
    nearest = np.array([[index for _, index, _ in row] for row in found], dtype=np.int64).reshape(-1, _NEIGHBOURS)
    distance = np.array([[gap for _, _, gap in row] for row in found], dtype=np.float64).reshape(-1, _NEIGHBOURS)
    weight = 1 / np.maximum(distance, 1e-4) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    directions = convert.to_blender(directions)
    return np.concatenate([directions, np.einsum("wn,swni->swi", weight, directions[:, nearest])], axis=1)
