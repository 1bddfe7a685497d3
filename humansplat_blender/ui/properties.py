"""What the user chooses for the next avatar, kept in the scene."""

from __future__ import annotations

import bpy

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

SHADING = {
    "name": "Shading",
    "description": "How far the photo's light shades the sides that the photo does not show. At 0 a white shirt is as "
    "white behind as in front, for light of your own or of a game. Surface never shades",
    "min": 0.0,
    "max": 1.0,
    "default": 1.0,
    "subtype": "FACTOR",
}


class HumanSplatPicture(bpy.types.PropertyGroup):
    """One further picture of the person."""

    image: bpy.props.PointerProperty(type=bpy.types.Image, name="Picture")


class HumanSplatSettings(bpy.types.PropertyGroup):
    """Settings of the next reconstruction."""

    photo: bpy.props.PointerProperty(
        type=bpy.types.Image, name="Photo", description="Picture of the person, best from head to feet"
    )
    back: bpy.props.PointerProperty(
        type=bpy.types.Image, name="Back", description="Picture of the same person seen from behind"
    )
    left: bpy.props.PointerProperty(
        type=bpy.types.Image,
        name="Left",
        description="Picture that shows the person's own left side: the camera stood at the person's left",
    )
    right: bpy.props.PointerProperty(
        type=bpy.types.Image,
        name="Right",
        description="Picture that shows the person's own right side: the camera stood at the person's right",
    )
    further: bpy.props.CollectionProperty(
        type=HumanSplatPicture, name="Further Pictures", description="Pictures of the same person from anywhere else"
    )
    preset: bpy.props.EnumProperty(items=PRESETS, name="Preset", description="How the avatar is made")
    body: bpy.props.EnumProperty(items=BODIES, name="Body", description="Body type to start the fit from")
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


def unregister() -> None:
    """Detach them."""
    del bpy.types.Scene.humansplat
