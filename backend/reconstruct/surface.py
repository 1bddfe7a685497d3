"""Photo, fitted body and what networks say of them to splats: the clothed surface, what the photo shows, all colours.

1. The fitted body is pushed to the matte's outline and the known depths; sheets close what still gapes (:mod:`.shape`).
2. Splats on a grid over what the photo shows, the backs of sheets, and evenly over all that is left (:mod:`.splats`).
3. What the photo shows of each (:mod:`.visibility`); the colours of all (:mod:`.completion`).
4. The front's colours are corrected by rendering and comparing with the photo (:mod:`.matching`).

The first two and the third's observation depend on no seed and no shading: :class:`Shaped` is kept for another guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..avatar.meshes import vertex_normals
from ..avatar.threads import workers
from ..body.fit import BodyFit
from ..body.model import BodyModel
from ..body.several import FittedPicture
from ..estimate.depth import SideDepths
from ..estimate.shading import PhotoLight
from ..geometry.maps import barycentric, sample_map
from ..options import LOWER
from ..photo import PreparedPhoto
from ..prepare import person_colours
from .completion import Places, Problem, Said, pose_problem, solve_problem, transferable
from .config import CompletionConfig, SurfaceConfig, VisibilityConfig
from .floaters import is_floater
from .labels import cover_with_hair
from .matching import Blending, draw, match_pictures
from .parts import PART_OF_JOINT, body_regions, by_part, head_part, joint_of_vertex
from .sampling import poisson_disk_samples
from .shape import fit_clothed_mesh
from .splats import Splats, back_of_sheets, flanks_of_sheets, front_splats, join, rest_of_body, splat_frames, take
from .types import Reconstruction, SurfaceMesh
from .views import SplatsInPicture, ViewedPerson, colours_at, said_by, said_by_pictures
from .visibility import Observation, View, observe, ramp

Step = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class Shaped:
    """n splats without colours, the first ``front_count`` of them on the grid of what the photo shows.

    Attributes:
        splats, axes, scale: see :mod:`.splats`.
        front_count: see above.
        places: where they are in the rest pose, and what they belong to.
        mesh: what they hang on.
        fit: the body inside it.
        seen: how the photo sees them.
        share: [n] how far the colour that the photo shows of each goes on elsewhere.
        image: float32 [S, S, 3] the photo's colours in 0..1, free of background.
        said, photo_share: what photo and further pictures say of each, with light; the photo's share [n] of that.
        pictured: the splats in further pictures.
        drawn: opacities and blending, see :func:`~.matching.draw`.
    """

    splats: Splats
    axes: np.ndarray
    scale: np.ndarray
    front_count: int
    places: Places
    mesh: SurfaceMesh
    fit: BodyFit
    seen: Observation
    share: np.ndarray
    image: np.ndarray
    said: Said
    photo_share: np.ndarray
    pictured: tuple[SplatsInPicture, ...]
    drawn: Callable[[], tuple[np.ndarray, Blending]]

    def coloured(self, rgb: np.ndarray | None = None, seen: np.ndarray | None = None) -> Reconstruction:
        """The splats that can be seen, with colours [n, 3] and how far the photo shows each [n]; grey without them."""
        opacity, _ = self.drawn()
        kept = opacity > 1 / 255
        splats = self.splats
        return Reconstruction(
            position=splats.position[kept],
            rotation=self.axes[kept],
            scale=self.scale[kept],
            opacity=opacity[kept],
            rgb=np.full((int(kept.sum()), 3), 0.5) if rgb is None else rgb[kept],
            face=splats.face[kept],
            surface=self.mesh,
            seen=np.zeros(int(kept.sum())) if seen is None else seen[kept],
            fit=self.fit,
        )


@dataclass(frozen=True, eq=False)
class Posed:
    """What is asked of the colours of ``shaped``.

    Attributes:
        shaped: the splats.
        photo_rgb: [n, 3] what the photo shows at each.
        lit: [n, 3] or [n, 1] the light on each.
        problem: of what none of them shows.
    """

    shaped: Shaped
    photo_rgb: np.ndarray
    lit: np.ndarray
    problem: Problem


class SurfaceReconstructor:
    """What depends on the body model alone.

    Args:
        body: the model.
        config: numbers of splats.
        device: where renders are computed.
    """

    def __init__(
        self, body: BodyModel, config: SurfaceConfig | None = None, device: torch.device | None = None
    ) -> None:
        self.body = body
        self.config = config or SurfaceConfig()
        self.completion = CompletionConfig()
        self.visibility = VisibilityConfig()
        self.device = device or torch.device("cpu")
        self.regions = body_regions(body)
        template, faces = body.template.numpy(), body.faces.numpy()
        part = self.regions.parts[faces[:, 0]]
        spacing = self.config.spacing / np.sqrt(by_part(self.config.density, 1.0))
        self.samples = poisson_disk_samples(
            template, faces, vertex_normals(template, faces), spacing[part], self.config.darts
        )

    def shape(
        self,
        fit: BodyFit,
        photo: PreparedPhoto,
        depths: SideDepths | None = None,
        step: Step = lambda fraction, text: None,
        pictures: Sequence[FittedPicture] = (),
        lower: str = LOWER[0],
    ) -> Shaped:
        """Splats without colours in the photo's pose.

        Args:
            fit, photo: from the stages before.
            depths: of front and back, :data:`~.maps.MAP_SIZE` pixels a side, where a network knows them.
            step: receives the stage's fraction and what is being done; may raise to stop.
            pictures: further ones of the person.
            lower: one of `LOWER`.
        """
        config = self.config
        step(0.0, "Shaping the clothes")
        beside = workers(2, self.device.type)
        own = beside.submit(person_colours, photo, self.device)
        clothed = fit_clothed_mesh(self.body, self.regions, fit, photo, depths, self.device, pictures, lower)
        mesh, layers, labels, focal = clothed.mesh, clothed.layers, clothed.labels, clothed.focal
        step(0.3, "Placing splats")
        front, pixels = front_splats(layers, photo, focal, config)
        back = back_of_sheets(front, pixels, layers, mesh, focal)
        shown = layers.face >= 0
        view = View.of(np.eye(4), focal, np.where(shown, layers.front, np.inf), shown, labels)
        rest = rest_of_body(self.body, self.samples, mesh, layers, view, self.regions.parts, photo, focal, config)
        splats = join(front, back, flanks_of_sheets(mesh, layers, focal, config), rest)
        at_rest = mesh.to_rest(splats.position, mesh.faces[splats.face])
        held = ~is_floater(at_rest, len(pixels))
        splats, at_rest = take(splats, held), at_rest[held]
        axes, scale = splat_frames(splats)
        scale[:, 2] *= config.thickness
        drawn = beside.submit(
            draw, splats, axes, scale, len(pixels), photo.alpha, fit.focal, config.correction_size, self.device
        )
        of_vertex = PART_OF_JOINT[joint_of_vertex(mesh.weights)]
        of_vertex[: mesh.body_vertices] = self.regions.parts
        part = self._parts(at_rest, mesh, mesh.faces[splats.face], of_vertex)
        # What the photo shows is what its labels say, whatever it hangs on.
        part[: len(pixels)] = np.where((own_label := sample_map(labels, pixels)) >= 0, own_label, part[: len(pixels)])
        seen = observe(splats.position, splats.normal, part, view, self.visibility)
        part = cover_with_hair(part, at_rest, seen.confidence)
        image = own.result().astype(np.float32) / 255
        places = Places(at_rest, splats.normal, part)
        beside.shutdown(wait=False)
        said, photo_share = Said(colours_at(image, seen), seen.confidence), np.ones(len(part))
        pictured: tuple[SplatsInPicture, ...] = ()
        if pictures:
            triangles = mesh.faces[splats.face]
            said, photo_share, pictured = said_by_pictures(
                clothed, said, seen.facing, splats.position, splats.normal, triangles, part, self.device
            )
        share = transferable(places, said, self.completion)
        return Shaped(
            splats, axes, scale, len(pixels), places, mesh, clothed.fit, seen, share, image, said, photo_share,
            pictured, drawn.result
        )

    def local(self, shaped: Shaped) -> np.ndarray:
        """Places [n, 3] in camera space of what the photo shows and what does not go on elsewhere, such as a print."""
        believed = shaped.seen.confidence > self.completion.source
        return shaped.splats.position[believed & (shaped.share < 0.5)]

    def pose(self, shaped: Shaped, light: PhotoLight | None = None) -> Posed:
        """What is asked of the colours, as far as no other views say anything.

        Args:
            shaped: from :meth:`shape`.
            light: of the photo, where a network knows it.
        """
        splats, seen, places = shaped.splats, shaped.seen, shaped.places
        lit = np.ones((len(splats.face), 1)) if light is None else light.display(splats.normal)
        said = shaped.said
        problem = pose_problem(places, Said(said.rgb / lit, said.belief), shaped.share, self.completion)
        return Posed(shaped, colours_at(shaped.image, seen), lit, problem)

    def colour(self, posed: Posed, viewed: ViewedPerson | None = None) -> Reconstruction:
        """The splats with their colours.

        Args:
            posed: from :meth:`pose`.
            viewed: other views.
        """
        shaped, photo_rgb, said, lit = posed.shaped, posed.photo_rgb, posed.shaped.said, posed.lit
        splats, seen, places, belief = shaped.splats, shaped.seen, shaped.places, said.belief
        views = None
        if viewed is not None:
            rgb, weight = said_by(viewed, splats.position, splats.normal, places.part, shaped.mesh, self.device)
            views = Said(rgb / lit, weight)
        filled = (solve_problem(posed.problem, views, self.completion) * lit).clip(0, 1)
        front = np.arange(len(lit)) < shaped.front_count
        level = ramp(seen.facing, self.visibility.facing)
        # In the photo's own view the rim must match with all that the photo mixes into it; from the side it must not.
        rgb = belief[:, None] * said.rgb + (1 - belief[:, None]) * filled
        trust = np.where(front, (1 - (1 - level) ** 2) * shaped.photo_share, 0.0)[:, None]
        rgb = trust * photo_rgb + (1 - trust) * rgb
        opacity, blending = shaped.drawn()
        rgb, area = match_pictures(
            splats, shaped.axes, shaped.scale, opacity, rgb, shaped.image, blending, shaped.pictured, self.config
        )
        return shaped.coloured(
            rgb, np.maximum(np.where(front, level, belief), (area / self.config.shown_pixels).clip(0, 1))
        )

    def reconstruct(
        self, fit: BodyFit, photo: PreparedPhoto, depths: SideDepths | None = None, light: PhotoLight | None = None
    ) -> Reconstruction:
        """:meth:`shape`, :meth:`pose` and :meth:`colour`, without other views."""
        return self.colour(self.pose(self.shape(fit, photo, depths), light))

    def _parts(self, places: np.ndarray, mesh: SurfaceMesh, corner: np.ndarray, of_vertex: np.ndarray) -> np.ndarray:
        """Part [n] of ``places`` [n, 3] in the rest pose on triangles ``corner`` [n, 3] of ``mesh``.

        Borders between parts cut through triangles, or they would have the teeth of the mesh.
        """
        parts = of_vertex[corner]
        out = parts[:, 0].copy()
        border = np.flatnonzero((parts[:, 1:] != parts[:, :1]).any(1))
        parts, corner = parts[border], corner[border]
        share = barycentric(places[border], mesh.rest[corner])
        most = (share[:, :, None] * (parts[:, :, None] == parts[:, None])).sum(1).argmax(1)
        chosen = np.take_along_axis(parts, most[:, None], 1)[:, 0]
        inside = (corner < mesh.body_vertices).all(1)
        head = inside & self.regions.head[corner.clip(max=mesh.body_vertices - 1)].all(1)
        chosen[head] = head_part(np.einsum("nc,ncr->nr", share[head], self.regions.bounds[corner[head]]))
        out[border] = chosen
        return out
