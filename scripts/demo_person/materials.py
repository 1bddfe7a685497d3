"""Skin, eyes, hair and cloth as procedural Cycles materials. ``rest`` is the attribute with the T-pose position."""

from __future__ import annotations

from typing import Any

import bpy

Colour = tuple[float, float, float]


class Graph:
    """A material's node tree with as little ceremony as it takes."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def add(self, kind: str, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
        """Add a node; inputs by identifier or, where names repeat, by ``_N`` for the N-th; sockets are linked."""
        node = self.tree.nodes.new(kind)
        for key, value in (settings or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            socket = node.inputs[int(key[1:])] if key.startswith("_") else node.inputs[key.replace("_", " ")]
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node

    def math(self, operation: str, a: Any, b: Any = 0.0, clamp: bool = False) -> Any:
        """One mathematical operation."""
        return self.add("ShaderNodeMath", {"operation": operation, "use_clamp": clamp}, _0=a, _1=b).outputs[0]

    def mix(self, share: Any, a: Any, b: Any) -> Any:
        """Colour between ``a`` and ``b``."""
        node = self.add("ShaderNodeMix", {"data_type": "RGBA"}, _0=share, _6=_rgba(a), _7=_rgba(b))
        return node.outputs[2]

    def noise(self, vector: Any, scale: float, detail: float = 4.0) -> Any:
        """Value of a noise, 0..1."""
        return self.add("ShaderNodeTexNoise", None, Vector=vector, Scale=scale, Detail=detail).outputs[0]

    def attribute(self, name: str) -> Any:
        """An attribute's node."""
        return self.add("ShaderNodeAttribute", {"attribute_name": name})

    def bump(self, height: Any, strength: float, distance: float) -> Any:
        """A normal from a height."""
        return self.add("ShaderNodeBump", None, Height=height, Strength=strength, Distance=distance).outputs[0]

    def end(self, surface: Any) -> bpy.types.Material:
        """Finish with a shader node."""
        output = self.tree.nodes.new("ShaderNodeOutputMaterial")
        self.tree.links.new(surface.outputs[0], output.inputs["Surface"])
        return self.material


def _rgba(colour: Any) -> Any:
    return (*colour, 1.0) if isinstance(colour, tuple) and len(colour) == 3 else colour


def principled(graph: Graph, colour: Any, roughness: float, **inputs: Any) -> Any:
    """The standard shader."""
    return graph.add("ShaderNodeBsdfPrincipled", None, Base_Color=_rgba(colour), Roughness=roughness, **inputs)


def skin() -> bpy.types.Material:
    """Skin; it scatters light below its surface. Attributes of ``face_tints``, each 0..1, colour it."""
    graph = Graph("Skin")
    rest = graph.attribute("rest").outputs["Vector"]
    blotch = graph.noise(rest, 60.0)
    base = graph.mix(blotch, (0.60, 0.34, 0.235), (0.66, 0.41, 0.295))
    base = graph.mix(graph.math("MULTIPLY", graph.attribute("stubble").outputs["Fac"], 0.30), base, (0.27, 0.17, 0.14))
    base = graph.mix(graph.math("MULTIPLY", graph.attribute("blush").outputs["Fac"], 0.40), base, (0.64, 0.22, 0.17))
    base = graph.mix(graph.math("MULTIPLY", graph.attribute("lips").outputs["Fac"], 0.85), base, (0.43, 0.135, 0.12))
    base = graph.mix(graph.math("MULTIPLY", graph.attribute("lashes").outputs["Fac"], 0.85), base, (0.05, 0.025, 0.02))
    base = graph.mix(graph.attribute("scalp").outputs["Fac"], base, (0.06, 0.035, 0.022))
    pores = graph.bump(graph.noise(rest, 900.0, 2.0), 0.12, 0.0006)
    return graph.end(
        principled(
            graph, base, 0.47, Normal=pores, Subsurface_Weight=0.18, Subsurface_Radius=(1.0, 0.35, 0.2),
            Subsurface_Scale=0.008,
        )
    )  # fmt: skip


def eye() -> bpy.types.Material:
    """White, iris and pupil by the angle from the eye's own +z axis."""
    graph = Graph("Eye")
    place = graph.add("ShaderNodeTexCoord").outputs["Object"]
    split = graph.add("ShaderNodeSeparateXYZ", None, Vector=place)
    angle = graph.math("ARCCOSINE", split.outputs[2])  # the ball has radius 1 in its own space
    fibres = graph.noise(place, 14.0)
    iris = graph.mix(fibres, (0.10, 0.045, 0.018), (0.25, 0.13, 0.05))
    limbus = graph.add("ShaderNodeMapRange", {"interpolation_type": "SMOOTHSTEP"}, _0=angle, _1=0.36, _2=0.42)
    pupil = graph.add("ShaderNodeMapRange", {"interpolation_type": "SMOOTHSTEP"}, _0=angle, _1=0.19, _2=0.16)
    rim = graph.add("ShaderNodeMapRange", {"interpolation_type": "SMOOTHSTEP"}, _0=angle, _1=0.28, _2=0.40)
    colour = graph.mix(graph.math("MULTIPLY", rim.outputs[0], 0.8), iris, (0.02, 0.012, 0.008))
    colour = graph.mix(pupil.outputs[0], colour, (0.003, 0.003, 0.003))
    colour = graph.mix(limbus.outputs[0], colour, (0.80, 0.76, 0.72))
    return graph.end(principled(graph, colour, 0.06, Coat_Weight=0.4, Coat_Roughness=0.02))


def hair(dark: Colour = (0.016, 0.009, 0.006), light: Colour = (0.050, 0.026, 0.014)) -> bpy.types.Material:
    """Hair; attribute ``shade`` 0..1 goes from dark to light."""
    graph = Graph("Hair")
    colour = graph.mix(graph.attribute("shade").outputs["Fac"], dark, light)
    settings = {"parametrization": "COLOR"}
    return graph.end(
        graph.add("ShaderNodeBsdfHairPrincipled", settings, Color=colour, Roughness=0.38, Radial_Roughness=0.5)
    )


def striped_jersey() -> bpy.types.Material:
    """Fine knit, off-white with blue stripes across the trunk and around the sleeves."""
    graph = Graph("Striped jersey")
    rest = graph.attribute("rest").outputs["Vector"]
    split = graph.add("ShaderNodeSeparateXYZ", None, Vector=rest)
    out = graph.math("ABSOLUTE", split.outputs[0])
    on_sleeve = graph.math("GREATER_THAN", out, 0.205)
    along = graph.add("ShaderNodeMix", {"data_type": "FLOAT"}, _0=on_sleeve, _2=split.outputs[1], _3=out).outputs[0]
    phase = graph.math("FRACT", graph.math("ADD", graph.math("DIVIDE", along, 0.046), 10.0))
    stripe = graph.math("LESS_THAN", phase, 0.40)
    # Yoke and hems stay plain, as such shirts are made.
    below_yoke = graph.math("LESS_THAN", split.outputs[1], 0.355)
    off_shoulder = graph.math("GREATER_THAN", out, 0.250)
    striped = graph.add("ShaderNodeMix", {"data_type": "FLOAT"}, _0=on_sleeve, _2=below_yoke, _3=off_shoulder)
    colour = graph.mix(graph.math("MULTIPLY", stripe, striped.outputs[0]), (0.78, 0.75, 0.68), (0.030, 0.055, 0.155))
    knit = graph.add("ShaderNodeTexWave", {"bands_direction": "X"}, Vector=rest, Scale=520.0, Distortion=1.5).outputs[1]
    folds = graph.noise(rest, 16.0, 3.0)
    normal = graph.bump(graph.math("ADD", folds, graph.math("MULTIPLY", knit, 0.02)), 0.55, 0.022)
    return graph.end(principled(graph, colour, 0.85, Normal=normal, Sheen_Weight=0.25))


def cotton(name: str, colour: Colour, folds: float = 0.5) -> bpy.types.Material:
    """Woven cotton twill of one colour."""
    graph = Graph(name)
    rest = graph.attribute("rest").outputs["Vector"]
    twill = graph.add("ShaderNodeTexWave", {"bands_direction": "DIAGONAL"}, Vector=rest, Scale=420.0).outputs[1]
    worn = graph.noise(rest, 9.0)
    darker = tuple(0.72 * c for c in colour)
    base = graph.mix(worn, darker, colour)
    stretched = graph.add("ShaderNodeMapping", None, Vector=rest, Scale=(1.0, 1.7, 1.0)).outputs[0]
    height = graph.math("ADD", graph.noise(stretched, 13.0, 3.0), graph.math("MULTIPLY", twill, 0.015))
    return graph.end(principled(graph, base, 0.8, Normal=graph.bump(height, folds, 0.025), Sheen_Weight=0.15))


def plain(name: str, colour: Colour, roughness: float = 0.6) -> bpy.types.Material:
    """One colour."""
    graph = Graph(name)
    return graph.end(principled(graph, colour, roughness))


def shoe() -> bpy.types.Material:
    """A canvas upper over a white rubber sole, parted by height."""
    graph = Graph("Shoe")
    place = graph.add("ShaderNodeNewGeometry").outputs["Position"]
    height = graph.add("ShaderNodeSeparateXYZ", None, Vector=place).outputs[2]
    sole = graph.math("LESS_THAN", height, 0.036)
    line = graph.math("MULTIPLY", graph.math("GREATER_THAN", height, 0.027), sole)
    weave = graph.noise(place, 700.0, 2.0)
    upper = graph.mix(weave, (0.16, 0.035, 0.03), (0.24, 0.06, 0.05))
    colour = graph.mix(sole, upper, (0.72, 0.70, 0.66))
    colour = graph.mix(line, colour, (0.55, 0.52, 0.48))
    return graph.end(principled(graph, colour, 0.7))
