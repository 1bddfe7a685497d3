"""Numbers of the reconstruction: a frozen dataclass for each mechanism."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SurfaceConfig:
    """How many splats, how large, and how their colours are matched to the photo.

    Attributes:
        front_count: how many splats show what the photo shows, about.
        spacing: metres between the others, on the neutral body: about 55,000 of them.
        darts: see :func:`~.sampling.poisson_disk_samples`.
        overlap, rest_overlap: sigma of a splat over the distance to its neighbours, in front and elsewhere, where their
            distances differ: holes would let the front's colours through.
        slope: tangent up to which normals follow the front's depth; steeper, it jumps from limb to limb.
        blur: pixels of 512, sigma with which that depth is smoothed.
        thickness: sigma across the surface over sigma along it.
        opacity: of a splat inside the matte.
        corrections: iterations of colour correction.
        correction_size: pixels of the picture that they match; finer than 512 so that close-ups do not ring.
        shown_pixels: of that picture, which a splat fills from which the photo counts as showing it.
        fade: shares of a front splat's light inside the matte, up to which it is removed and from which it stays.
        trace: share of a splat's light up to which it only shines through what lies before it.
        photo: how much it counts against all further pictures together.
        density: how much denser than elsewhere splats lie on fine parts.
    """

    front_count: int = 60_000
    spacing: float = 0.0047
    darts: int = 3
    overlap: float = 0.65
    rest_overlap: float = 0.82
    slope: float = 3.0
    blur: float = 1.5
    thickness: float = 0.2
    opacity: float = 0.97
    corrections: int = 12
    correction_size: int = 768
    shown_pixels: float = 0.25
    fade: tuple[float, float] = (0.3, 0.7)
    trace: float = 0.05
    photo: float = 4.0
    density: dict[str, float] = field(default_factory=lambda: {"FACE": 2.0, "HAIR": 2.0, "HAND": 2.0, "FOOT": 1.5})


SURFACE = SurfaceConfig()

SURFACE_STEP_M = 0.03
"""Metres; places closer than this belong to one surface, and the two sides of something thin are as far apart. Splats,
and pixels of a person who fills the photo, are 7 mm apart at most."""

LIGHTNESS = 0.5
"""Weight of lightness beside the other axes of CIE L*a*b* where colours are compared: cloth is light and dark."""
SCRAP = 0.02
"""Share of a whole up to which a part of it is a scrap: of what the photo shows it may hang in the air, where more is a
limb, and lends no colours; of a garment patch it may be torn."""
EAR_MARGIN_M = 0.01
"""Metres: a face begins this far behind the ears; hair twice as far above and behind them. Of the neutral body."""
FOREHEAD_M = 0.055
"""Metres above the eyes at which hair begins, of the neutral body."""
CROTCH_BAND_M = (-0.05, 0.2)
"""Metres from the crotch up within which what pelvis and hips move is the seat."""


@dataclass(frozen=True)
class LimbPoseConfig:
    """Weights of the limb pose's refinement, see :func:`~.limb_pose.refine_limb_pose`.

    Attributes:
        iterations: of Gauss-Newton.
        vertex_stride: every n-th vertex of the limbs has a residual.
        inside_weight: weight of a vertex inside the clothed surface; one outside has 1.
        robust_scale: metres of distance at which a residual's weight is a quarter: a wide skirt is not the leg's.
        image_plane_weight: weight of the joints' squared motion across the image, per square metre.
        regularisation: metres of distance that cost as much as a radian of rotation.
    """

    iterations: int = 8
    vertex_stride: int = 3
    inside_weight: float = 0.2
    robust_scale: float = 0.06
    image_plane_weight: float = 0.3
    regularisation: float = 0.01


@dataclass(frozen=True)
class VisibilityConfig:
    """When a picture shows a point.

    Attributes:
        behind: metres behind the first surface at which a point still counts as on it: the error of depth maps.
        outline: pixels from the outline, from not at all to wholly; the background mixes in there.
        facing: cosines of surface and ray, likewise; at a slant a pixel is many millimetres wide.
    """

    behind: float = 0.012
    outline: tuple[float, float] = (1.5, 8.0)
    facing: tuple[float, float] = (0.1, 0.5)


@dataclass(frozen=True)
class SolverConfig:
    """When conjugate gradients stop.

    Attributes:
        tolerance: of the residual, over the right side: colours and places differ by less than what can be seen.
        iterations: at most; some 100 are needed.
    """

    tolerance: float = 1e-3
    iterations: int = 300


@dataclass(frozen=True)
class CompletionConfig(SolverConfig):
    """Weights of the colours' least-squares problem; an edge between neighbours of one part, and the photo, count 1 at
    most.

    Attributes:
        partner: data term of a hidden place's partners next to it.
        views: of what other views say, over that of partners; and how much of that on heads.
        reach: metres of unlikeness at which partners count half; and that a colour of no confidence is farther.
        source: confidence from which a place lends its colour.
        neighbours: partners whose colours are mixed, and neighbours on the surface.
        along, through: how much more distance counts along trunk and limbs, and through the body, than around it.
        mirror: metres that the other side is farther.
        unlike: metres to one of ``parts.UNLIKENESS``.
        border: unlikeness of parts at which an edge between them counts half.
        edge: CIE L*a*b* units between neighbours' first guesses at which an edge counts half: the border of two cloths.
        row: metres of height that are compared for what goes on around the body.
        alike: CIE L*a*b* units within which colours are one cloth in light and shadow.
        one_side: how much a colour counts that shows at one side alone.
        rare: from not going on to going on: how frequent a colour is at the sides, over there and everywhere; in parts
            without rows around them, over the most frequent one. Skin is no less frequent in the face than the first.
        fewest, compared: places of a row without which nothing is concluded; and how many are compared, at most.
        pattern: root mean squares of a part's detail up to which detail is its pattern.
        feature, face: metres of unlikeness over which a face's other half is its mirror image, and its weight then.
    """

    partner: float = 0.05
    views: tuple[float, float] = (1.0, 0.7)
    reach: float = 0.15
    source: float = 0.15
    neighbours: int = 8
    along: float = 2.0
    through: float = 0.35
    mirror: float = 0.02
    unlike: float = 0.3
    border: float = 0.5
    row: float = 0.015
    edge: float = 5.0
    alike: float = 8.0
    one_side: float = 0.1
    rare: tuple[float, float] = (0.1, 0.3)
    fewest: int = 30
    compared: int = 300
    pattern: float = 2.0
    feature: float = 0.03
    face: float = 4.0


COMPLETION = CompletionConfig()


@dataclass(frozen=True)
class ViewsConfig:
    """How far other views and pictures are believed.

    Attributes:
        sharpness: power of the cosines and confidences by which pictures of one place are mixed.
        blur: pixels by which imagined views may be off.
        coverage: of a pixel, from which it counts in part and wholly.
        enough: sum of the views' weights from which their colour counts wholly.
    """

    sharpness: float = 4.0
    blur: int = 4
    coverage: tuple[float, float] = (0.8, 1.0)
    enough: float = 0.3


@dataclass(frozen=True)
class LabelConfig:
    """The mixture model of the photo's parts.

    Attributes:
        usual_reach, reach: metres from a part's projection over which it becomes unlikely, of most parts, and of those
            that stand off the body or are stiff on it.
        finger: metres around found bones over which a hand becomes unlikely: a finger is about as wide.
        floor: share that every part has of every colour and, over that of the likeliest, at every pixel.
        bones: how likely a hand is on its bones, over where the body has it.
        colours: how many stand for all of the photo's.
        bare: how far the colours of hands and neck are taken to be the face's.
        rounds: of expectation maximisation, and of choosing colours.
        radius, edge: pixels of the filter; difference of brightness that counts as an edge.
    """

    usual_reach: float = 0.02
    reach: dict[str, float] = field(default_factory=lambda: {"FACE": 0.035, "HAIR": 0.045, "NECK": 0.05, "HAND": 0.025})
    finger: float = 0.012
    floor: float = 1e-3
    bones: float = 3.0
    colours: int = 24
    bare: float = 0.6
    rounds: int = 8
    radius: int = 4
    edge: float = 0.04


@dataclass(frozen=True)
class LayerConfig:
    """What the photo's pixels hang on: the body, or garment patches over gaps of the body.

    Attributes:
        cell: pixels of 512 between a patch's nodes; gaps narrower than this have no patch and no back of their own;
            and sigma with which the depths of the limbs on both sides of a gap blend.
        stretch: how many times as long as in the photo's pose a patch's edge may be in the rest pose.
        halfway: how far a place's share of the left leg may be from a half for it to hang between both legs.
        skirt_area: of what hangs between the thighs, over the square of a leg's length, from which it is a skirt. Of 60
            people of the factory 14 in skirts have 0.0082 or more, all others have at most 0.0037, among them five in
            skirts that are short, lie on the legs or are seen in a stride; of real photos loose trousers reach 0.0059.
        hem: quantile of how far down the legs places between them are; the rest may be shadows on the floor.
    """

    cell: int = 8
    stretch: float = 1.7
    halfway: float = 0.25
    skirt_area: float = 0.0075
    hem: float = 0.98


LAYERS = LayerConfig()


@dataclass(frozen=True)
class DeformConfig(SolverConfig):
    """Weights of the deformation's terms; an edge of the mesh counts ``stiffness``.

    Attributes:
        rounds: solutions, after each of which outlines are asked anew.
        stiffness, held: of the membrane; what holds every vertex to where it is.
        outline: weight of a vertex at the outline, times how tangent it is.
        grazing: one less the cosine of normal and ray, from which a vertex may lie on the outline.
        inset: pixels that the mesh keeps inside the outline: splats reach beyond their middles. Twice as far along its
            normal a vertex at the mesh's own outline has left the mesh.
        stands_off, limits: metres that a surface may stand off the body, half as far inside; and that of smaller parts.
        pinned: weight with which faces, and what no picture shows, stay.
        depth_share, follows: how much thicker, over how much wider, clothes make the body; the weight of that.
        depth, foretold, depth_reach: weight of depths; metres of foretold error at which they count half; metres that
            they may move a vertex.
    """

    rounds: int = 4
    stiffness: float = 5.0
    held: float = 1e-4
    outline: float = 12.0
    grazing: float = 0.6
    inset: float = 1.25
    stands_off: float = 0.14
    limits: dict[str, float] = field(default_factory=lambda: {"HAIR": 0.12, "NECK": 0.06, "HAND": 0.025, "FOOT": 0.04})
    pinned: float = 0.4
    depth_share: float = 0.5
    follows: float = 0.3
    depth: float = 0.45
    foretold: float = 0.04
    depth_reach: float = 0.25
