"""What the user chooses for the next avatar, kept in the scene."""

from __future__ import annotations

import bpy

from ..models import BUILT_IN, PICTURES

SOURCES = (
    (BUILT_IN, "Built-in", "What the photo does not show is made by the preset, from the photo alone"),
    (PICTURES, "Pictures", "Pictures of the person that you give"),
    ("mv-adapter", "MV-Adapter (NVIDIA)", "A large model of others, to be downloaded; for NVIDIA graphics cards"),
    ("sv3d", "SV3D (NVIDIA)", "A large model of others, to be downloaded; for NVIDIA graphics cards"),
)
PRESETS = (
    (
        "lite",
        "Lite",
        "Splats on the fitted body, coloured from the photo; trained networks imagine what the photo does not show",
    ),
    (
        "surface",
        "Surface",
        "The same without networks: what the photo does not show is continued from what it shows. Quicker",
    ),
)
BODIES = (
    ("neutral", "Neutral", "An adult body between female and male"),
    ("female", "Female", "An adult female body"),
    ("male", "Male", "An adult male body"),
    ("child", "Child", "A child of about 3 to 12 years"),
)
LOWER = (
    ("auto", "Automatic", "Trousers or a skirt, as the photo shows"),
    ("trousers", "Trousers", "Each leg has its own: trousers, shorts, tights, bare legs"),
    ("skirt", "Skirt or Dress", "One piece around both legs, also where it lies close: skirt, dress, coat, robe"),
)

SHADING = {
    "name": "Shading",
    "description": "How far the photo's light shades the sides that the photo does not show. At 0 a white shirt is as "
    "white behind as in front, for light of your own or of a game. Surface never shades",
    "min": 0.0,
    "max": 1.0,
    "default": 1.0,
    "subtype": "FACTOR",
}


def _source_changed(settings: HumanSplatSettings, _context: bpy.types.Context) -> None:
    """See whether a large model that was chosen is there, once."""
    from . import models, runtime

    large = settings.sides not in (BUILT_IN, PICTURES)
    if large and runtime.manager().models is None and not bpy.app.background:
        models.look_for_models()


def _picture_chosen(group: HumanSplatPicture | HumanSplatSettings, _context: bpy.types.Context) -> None:
    """A picture that is chosen is to be used."""
    use_pictures(group.id_data.humansplat)


def use_pictures(settings: HumanSplatSettings) -> None:
    """Have the pictures of other sides used, if there are any."""
    given = (settings.back, settings.left, settings.right, *(item.image for item in settings.further))
    if any(image is not None for image in given):
        settings.sides = PICTURES


@bpy.app.handlers.persistent
def _file_opened(*_arguments: object) -> None:
    """In files of versions that knew no other source, the pictures were used."""
    for scene in bpy.data.scenes:
        if not scene.humansplat.is_property_set("sides"):
            use_pictures(scene.humansplat)


class HumanSplatPicture(bpy.types.PropertyGroup):
    """One further picture of the person."""

    image: bpy.props.PointerProperty(type=bpy.types.Image, name="Picture", update=_picture_chosen)


class HumanSplatSettings(bpy.types.PropertyGroup):
    """Settings of the next reconstruction."""

    photo: bpy.props.PointerProperty(
        type=bpy.types.Image, name="Photo", description="Picture of the person, best from head to feet"
    )
    back: bpy.props.PointerProperty(
        type=bpy.types.Image,
        name="Back",
        description="Picture of the same person seen from behind",
        update=_picture_chosen,
    )
    left: bpy.props.PointerProperty(
        type=bpy.types.Image,
        name="Left",
        description="Picture that shows the person's own left side: the camera stood at the person's left",
        update=_picture_chosen,
    )
    right: bpy.props.PointerProperty(
        type=bpy.types.Image,
        name="Right",
        description="Picture that shows the person's own right side: the camera stood at the person's right",
        update=_picture_chosen,
    )
    further: bpy.props.CollectionProperty(
        type=HumanSplatPicture, name="Further Pictures", description="Pictures of the same person from anywhere else"
    )
    sides: bpy.props.EnumProperty(
        items=SOURCES, name="Sides", description="Where the sides that the photo does not show come from",
        update=_source_changed,
    )  # fmt: skip
    preset: bpy.props.EnumProperty(items=PRESETS, name="Preset", description="How the avatar is made")
    body: bpy.props.EnumProperty(items=BODIES, name="Body", description="Body type to start the fit from")
    lower: bpy.props.EnumProperty(items=LOWER, name="Legs", description="What the legs wear")
    seed: bpy.props.IntProperty(
        name="Seed",
        description="Which guess about what the photo does not show; 0 is the likeliest. Surface has but one",
        min=0,
    )
    person: bpy.props.IntProperty(
        name="Person", description="Which person of a group: 1 is the largest", min=1, default=1, soft_max=9
    )
    shading: bpy.props.FloatProperty(**SHADING)
    show_notes: bpy.props.BoolProperty(name="Show Notes", description="What there is to know about the last avatar")


CLASSES = (HumanSplatPicture, HumanSplatSettings)


def register() -> None:
    """Attach the settings to scenes."""
    bpy.types.Scene.humansplat = bpy.props.PointerProperty(type=HumanSplatSettings)
    bpy.app.handlers.load_post.append(_file_opened)


def unregister() -> None:
    """Detach them."""
    bpy.app.handlers.load_post.remove(_file_opened)
    del bpy.types.Scene.humansplat
