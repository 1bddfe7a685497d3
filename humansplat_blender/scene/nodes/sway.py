"""Node group that lets loose cloth lag behind and swing: a damped spring at each vertex, simulated by stock nodes."""

from __future__ import annotations

import math

import bpy

from .build import Socket, Tree, ensure_group

NAME = "HumanSplat Sway"
VERSION = 1

ROOM = "sway:room"
"""Attribute of the mesh: how far each vertex may leave its place, metres; `sway.py` in the scene fills it."""
# On the simulated points; their positions are where the mesh had its vertices in the frame before.
_OFFSET, _VELOCITY, _SPEED = "sway:offset", "sway:velocity", "sway:speed"

AMOUNT, FREQUENCY, DAMPING = "Amount", "Frequency", "Damping"
SOCKETS = (
    Socket("Geometry", "NodeSocketGeometry", output=True),
    Socket("Geometry", "NodeSocketGeometry"),
    Socket(
        AMOUNT, "NodeSocketFloat", default=1.0, minimum=0.0, maximum=1.0, subtype="FACTOR",
        description="How far loose cloth swings; 0 switches it off",
    ),
    Socket(
        FREQUENCY, "NodeSocketFloat", default=1.5, minimum=0.3, maximum=6.0,
        description="Swings a second: lower for heavy, long cloth",
    ),
    Socket(
        DAMPING, "NodeSocketFloat", default=0.3, minimum=0.02, maximum=1.0, subtype="FACTOR",
        description="How soon it comes to rest; at 1 it only lags behind",
    ),
)  # fmt: skip
_LEAST_STEP = 1e-3  # seconds


def sway_group() -> bpy.types.NodeTree:
    """The shared sway group: moves the vertices of a deformed mesh that have room (attribute `ROOM`).

    With x(t) where the vertex would be without cloth's inertia, o its offset and w = do/dt, per step of h seconds and
    implicitly, so that no step is too long:
    v = (x - x') / h; w = (w' - (v - v') - omega^2 h o') / (1 + 2 zeta omega h + omega^2 h^2); o = o' + h w,
    the damped spring o'' = -x'' - 2 zeta omega o' - omega^2 o. The vertex moves by `Amount` o / (1 + |o| / room), less
    than its room. Space is the mesh object's: what moves the object itself moves no cloth.
    """
    return ensure_group(NAME, VERSION, SOCKETS, _build)


def _build(tree: Tree) -> None:
    inputs = tree.group_input()
    deformed = inputs["Geometry"]
    place = tree.node("GeometryNodeInputPosition").outputs[0]
    index = tree.node("GeometryNodeInputIndex").outputs[0]

    # Points alone are simulated: a bake holds no faces, weights and colours then.
    points = tree.call("GeometryNodeMeshToPoints", {"Mesh": deformed}, mode="VERTICES")
    begin, end = tree.node("GeometryNodeSimulationInput"), tree.node("GeometryNodeSimulationOutput")
    begin.pair_with_output(end)
    tree.feed(begin.inputs["Geometry"], points)
    before = begin.outputs["Geometry"]
    elapsed = begin.outputs["Delta Time"]
    step = tree.math("MAXIMUM", elapsed, _LEAST_STEP)
    per_second = tree.math("DIVIDE", 1.0, step)

    now = tree.sample(deformed, place, index)
    speed = tree.vector("SCALE", tree.vector("SUBTRACT", now, place), per_second)
    known, is_known = tree.outputs(
        "GeometryNodeInputNamedAttribute", {"Name": _SPEED}, data_type="FLOAT_VECTOR"
    )
    # Nobody stands still before the first frame only because the simulation begins there.
    change = tree.vector("SCALE", tree.vector("SUBTRACT", speed, known), is_known)
    offset = tree.attribute(_OFFSET, "FLOAT_VECTOR")
    velocity = tree.vector("SUBTRACT", tree.attribute(_VELOCITY, "FLOAT_VECTOR"), change)
    omega = tree.math("MULTIPLY", inputs[FREQUENCY], 2 * math.pi)
    pull = tree.math("MULTIPLY", tree.math("MULTIPLY", omega, omega), step)
    drag = tree.math("MULTIPLY", tree.math("MULTIPLY", omega, inputs[DAMPING]), tree.math("MULTIPLY", step, 2.0))
    slower = tree.math("ADD", tree.math("MULTIPLY_ADD", pull, step, 1.0), drag)
    velocity = tree.vector("SUBTRACT", velocity, tree.vector("SCALE", offset, pull))
    velocity = tree.vector("SCALE", velocity, tree.math("DIVIDE", 1.0, slower))
    offset = tree.vector("ADD", offset, tree.vector("SCALE", velocity, step))
    # Captured together: each of them is of the frame before until all are known.
    after, (now, speed, velocity, offset) = tree.capture(
        before, (("VECTOR", now), ("VECTOR", speed), ("VECTOR", velocity), ("VECTOR", offset))
    )
    for name, value in ((_SPEED, speed), (_VELOCITY, velocity), (_OFFSET, offset)):
        after = tree.store(after, name, "FLOAT_VECTOR", value)
    after = tree.call("GeometryNodeSetPosition", {"Geometry": after, "Position": now})
    # In the first frame no time has passed, and nothing is known of how fast anybody is.
    tree.feed(end.inputs["Geometry"], tree.switch(tree.math("GREATER_THAN", elapsed, 0.0), before, after))

    offset = tree.sample(end.outputs["Geometry"], tree.attribute(_OFFSET, "FLOAT_VECTOR"), index)
    room = tree.attribute(ROOM, "FLOAT")
    far = tree.math("ADD", room, tree.vector("LENGTH", offset))
    share = tree.math("DIVIDE", tree.math("MULTIPLY", room, inputs[AMOUNT]), tree.math("MAXIMUM", far, 1e-9))
    moved = tree.call(
        "GeometryNodeSetPosition", {"Geometry": deformed, "Offset": tree.vector("SCALE", offset, share)}
    )
    tree.group_output(Geometry=moved)
