"""The ``surface`` preset: splats on the clothed body, coloured from the photo. Needs no trained weights.

1. The fitted body is pushed to the matte's outline (:mod:`.clothed`), limbs that lie before it to where the photo's
   colours end (:mod:`.limbs`); sheets close what still gapes (:mod:`.shape`).
2. Front: one splat for each cell of a grid over the matte, on the first surface its ray meets, with the photo's colour;
   the rest: splats spread evenly over everything that the front does not cover (:mod:`.splats`), less what would hang
   in the air in the rest pose (:mod:`.scraps`).
3. What the photo shows of them (:mod:`.shown`), and from that the colours of all (:mod:`.photo_colours`).
4. The front's colours are corrected by rendering and comparing with the photo, so that overlap does not blur it
   (:mod:`.matching`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from ..avatar.threads import workers
from ..body.fit import BodyFit
from ..body.model import JOINT_INDEX, BodyModel
from ..prepare import PreparedPhoto, extend_colours, own_colours
from ..rendering.mesh import vertex_normals
from .clothed import joint_of_vertex
from .config import SurfaceConfig
from .maps import to_rest
from .matching import draw, match_photo
from .photo_colours import splat_colours
from .regions import body_regions
from .sampling import poisson_disk_samples
from .scraps import adrift
from .shading import PhotoLight
from .shape import clothe
from .shown import pure_colours, what_is_shown
from .splats import back_of_sheets, front_splats, join, rest_of_body, splat_frames, take
from .types import Reconstruction, SideDepths

_DENSITY = {"head": 2.0, "hand": 2.0, "wrist": 1.5, "foot": 1.5}
"""How much denser than elsewhere splats lie on fine parts."""
_SHOWN = 0.5
"""Pixels of the corrected picture that a splat fills from which the photo counts as showing it."""


class SurfaceReconstructor:
    """The preset for one body model; holds what depends on the model alone.

    Args:
        body: the model.
        config: numbers of the preset.
        device: where renders are computed.
    """

    def __init__(
        self, body: BodyModel, config: SurfaceConfig | None = None, device: torch.device | None = None
    ) -> None:
        self.body = body
        self.config = config or SurfaceConfig()
        self.device = device or torch.device("cpu")
        self.regions = body_regions(body)
        template, faces = body.template.numpy(), body.faces.numpy()
        fine = np.ones(len(faces))
        part = joint_of_vertex(body.weights.numpy())[faces[:, 0]]
        for name, joint in JOINT_INDEX.items():
            fine[part == joint] = _DENSITY.get(name.removeprefix("left_").removeprefix("right_"), 1.0)
        self.samples = poisson_disk_samples(
            template, faces, vertex_normals(template, faces), fine, self.config.rest_count
        )

    def reconstruct(
        self,
        fit: BodyFit,
        photo: PreparedPhoto,
        step: Callable[[float, str], None] = lambda fraction, text: None,
        depths: SideDepths | None = None,
        light: PhotoLight | None = None,
        looked: Callable[[np.ndarray], None] = lambda places: None,
    ) -> Reconstruction:
        """Splats of the person in the photo's pose.

        Args:
            fit, photo: from the stages before.
            step: receives the stage's fraction and what is being done; may raise to stop.
            depths: of front and back, :data:`~.maps.MAP_SIZE` pixels a side, where a network knows them.
            light: of the photo, where a network knows it.
            looked: receives the places [n, 3] of what does not go on elsewhere, such as a print, long before the
                splats have their colours; other views may be imagined meanwhile.
        """
        config = self.config
        step(0.0, "Shaping the clothes")
        # Under a matte that came with the file the person's colours need not be mixed with anything.
        colours = extend_colours if photo.matte_given else partial(own_colours, device=self.device)
        with workers(1, self.device.type) as beside:
            own = beside.submit(colours, photo.rgb, photo.alpha)
            mesh, layers, focal = clothe(self.body, self.regions, fit, photo, depths, self.device)
            step(0.3, "Placing splats")
            front, pixels = front_splats(layers, photo, focal, config)
            back = back_of_sheets(front, pixels, layers, mesh, focal)
            rest = rest_of_body(self.body, self.samples, mesh, layers, photo, focal, config)
            joined = join(front, back, rest)
            at_rest = to_rest(joined.position, mesh, mesh.faces[joined.face])
            held = ~adrift(at_rest, len(pixels))
            joined, at_rest = take(joined, held), at_rest[held]
            axes, scale = splat_frames(joined)
            scale[:, 2] *= config.thickness
            step(0.4, "Colouring the unseen side")
            drawn = beside.submit(
                draw, joined, axes, scale, len(pixels), photo.alpha, fit.focal, config.correction_size, self.device
            )
            image = own.result().astype(np.float32) / 255
            pure = pure_colours(photo, image)
            shown = what_is_shown(self.regions, mesh, joined, at_rest, len(pixels), layers, pure, focal)
            looked(joined.position[shown.local])
            rgb, seen = splat_colours(joined, shown, image, light)
        opacity, blending = drawn.result()
        step(0.8, "Matching the photo")
        rgb, area = match_photo(joined, scale, opacity, rgb, len(pixels), image, blending, config.corrections)
        kept = opacity > 1 / 255
        return Reconstruction(
            position=joined.position[kept],
            rotation=axes[kept],
            scale=scale[kept],
            opacity=opacity[kept],
            rgb=rgb[kept],
            face=joined.face[kept],
            surface=mesh,
            seen=np.maximum(seen, (area / _SHOWN).clip(0, 1))[kept],
            local=shown.local[kept],
            light=light,
        )
