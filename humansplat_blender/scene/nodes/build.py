"""Small helpers that node groups are written with: create or upgrade a group, add nodes, link fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bpy

# Users may rename groups and materials, so these properties say what a data-block is.
NAME_KEY = "humansplat_name"
VERSION_KEY = "humansplat_version"


@dataclass(frozen=True)
class Socket:
    """One socket of a group's interface. `kind` is a socket class name such as ``NodeSocketFloat``."""

    name: str
    kind: str
    output: bool = False
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    subtype: str | None = None
    description: str = ""


def ensure_group(
    name: str, version: int, sockets: Sequence[Socket], build: Callable[[Tree], None]
) -> bpy.types.NodeTree:
    """The geometry node group `name`, built now, reused, or upgraded where a file holds an older version.

    An upgrade keeps the group and the interface sockets whose name and kind stay, so that modifiers that use it
    keep their inputs. A group of a newer version, made by a newer add-on, is used as it is. Groups that are
    linked from another file cannot be changed and are left alone.
    """
    group = next((g for g in bpy.data.node_groups if g.library is None and g.get(NAME_KEY) == name), None)
    if group is not None and group.get(VERSION_KEY, -1) >= version:
        return group
    if group is None:
        group = bpy.data.node_groups.new(name, "GeometryNodeTree")
        group[NAME_KEY] = name
    group.nodes.clear()
    _update_interface(group, sockets)
    build(Tree(group))
    group[VERSION_KEY] = version
    return group


def _update_interface(group: bpy.types.NodeTree, sockets: Sequence[Socket]) -> None:
    wanted = {(s.name, s.output, s.kind) for s in sockets}
    existing = {}
    for item in list(group.interface.items_tree):
        if item.item_type != "SOCKET":
            continue
        key = (item.name, item.in_out == "OUTPUT", item.socket_type)
        if key in wanted:
            existing[key] = item
        else:
            group.interface.remove(item)
    for socket in sockets:
        item = existing.get((socket.name, socket.output, socket.kind))
        if item is None:
            item = group.interface.new_socket(
                socket.name, in_out="OUTPUT" if socket.output else "INPUT", socket_type=socket.kind
            )
        item.description = socket.description
        if socket.subtype is not None:
            item.subtype = socket.subtype
        if socket.minimum is not None:
            item.min_value = socket.minimum
        if socket.maximum is not None:
            item.max_value = socket.maximum
        if socket.default is not None:
            item.default_value = socket.default


def input_identifier(group: bpy.types.NodeTree, name: str) -> str:
    """Identifier of the group input called `name`: the key of that input on a modifier. KeyError if missing."""
    for item in group.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            return item.identifier
    raise KeyError(f"node group {group.name!r} has no input {name!r}")


def input_property(modifier: bpy.types.NodesModifier, name: str) -> tuple[Any, str]:
    """Owner and property path of the modifier's input called `name`, for ``UILayout.prop``. KeyError if missing."""
    key = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):  # Blender 5.2 and later
        return getattr(modifier.properties.inputs, key), "value"
    return modifier, f'["{key}"]'


def set_input(modifier: bpy.types.NodesModifier, name: str, value: Any) -> None:
    """Set the modifier's input called `name` and tag its object for an update."""
    owner, path = input_property(modifier, name)
    if path == "value":
        owner.value = value
    else:
        owner[path[2:-2]] = value
    modifier.id_data.update_tag()


def get_input(modifier: bpy.types.NodesModifier, name: str) -> Any:
    """Value of the modifier's input called `name`."""
    owner, path = input_property(modifier, name)
    return owner.path_resolve(path)


class Tree:
    """Adds nodes to a node tree; every method returns an output socket (or the node, where it says so).

    Operands are output sockets, or plain values that become the input's default.
    """

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(self, kind: str, **properties: Any) -> bpy.types.Node:
        """A new node of class `kind` with the given properties set."""
        node = self.tree.nodes.new(kind)
        for key, value in properties.items():
            setattr(node, key, value)
        return node

    def feed(self, target: bpy.types.NodeSocket, value: Any) -> None:
        """Link a socket into `target`, or set its default value; None leaves it as it is."""
        if value is None:
            return
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, target)
        else:
            target.default_value = value

    def call(self, kind: str, inputs: dict[str | int, Any], output: str | int = 0, **properties: Any) -> Any:
        """A node with inputs fed by name or index; returns the named or numbered output.

        Nodes keep hidden sockets of the same name for other data types, so a name means the enabled socket.
        """
        node = self.node(kind, **properties)
        for key, value in inputs.items():
            self.feed(pick(node.inputs, key), value)
        return pick(node.outputs, output)

    def outputs(self, kind: str, inputs: dict[str | int, Any], **properties: Any) -> tuple[Any, ...]:
        """As :meth:`call`, for a node with several results."""
        node = self.node(kind, **properties)
        for key, value in inputs.items():
            self.feed(pick(node.inputs, key), value)
        return tuple(socket for socket in node.outputs if socket.enabled)

    def group_input(self) -> bpy.types.NodeOutputs:
        """Outputs of a group input node, by name."""
        return self.node("NodeGroupInput").outputs

    def group_output(self, **values: Any) -> None:
        """Feed the group's outputs."""
        node = self.node("NodeGroupOutput")
        for name, value in values.items():
            self.feed(node.inputs[name], value)

    def math(self, operation: str, *operands: Any, clamp: bool = False) -> Any:
        """Scalar math."""
        return self.call("ShaderNodeMath", dict(enumerate(operands)), operation=operation, use_clamp=clamp)

    def vector(self, operation: str, *operands: Any) -> Any:
        """Vector math; the second operand of SCALE is the factor."""
        node = self.node("ShaderNodeVectorMath", operation=operation)
        for index, value in enumerate(operands):
            by_factor = operation == "SCALE" and index == 1
            self.feed(node.inputs["Scale"] if by_factor else node.inputs[index], value)
        return pick(node.outputs, 0)

    def separate(self, vector: Any) -> tuple[Any, Any, Any]:
        """x, y, z of a vector."""
        node = self.node("ShaderNodeSeparateXYZ")
        self.feed(node.inputs[0], vector)
        return tuple(node.outputs)

    def combine(self, x: Any, y: Any, z: Any) -> Any:
        """Vector of three scalars."""
        return self.call("ShaderNodeCombineXYZ", {0: x, 1: y, 2: z})

    def attribute(self, name: str, data_type: str) -> Any:
        """A named attribute of the geometry (geometry nodes only)."""
        return self.call("GeometryNodeInputNamedAttribute", {"Name": name}, "Attribute", data_type=data_type)

    def store(self, geometry: Any, name: str, data_type: str, value: Any, domain: str = "POINT") -> Any:
        """Store `value` as a named attribute; returns the geometry (geometry nodes only)."""
        return self.call(
            "GeometryNodeStoreNamedAttribute",
            {"Geometry": geometry, "Name": name, "Value": value},
            data_type=data_type,
            domain=domain,
        )

    def sample(self, geometry: Any, value: Any, index: Any, data_type: str = "FLOAT_VECTOR") -> Any:
        """The field `value` of another geometry, at its point `index` (geometry nodes only)."""
        inputs = {"Geometry": geometry, "Value": value, "Index": index}
        return self.call("GeometryNodeSampleIndex", inputs, data_type=data_type, domain="POINT")

    def join(self, *geometries: Any) -> Any:
        """All of them as one geometry (geometry nodes only)."""
        node = self.node("GeometryNodeJoinGeometry")
        for geometry in geometries:
            self.feed(node.inputs[0], geometry)
        return node.outputs[0]

    def largest(self, x: Any, y: Any, z: Any) -> Any:
        """The largest of three scalars."""
        return self.math("MAXIMUM", self.math("MAXIMUM", x, y), z)

    def capture(self, geometry: Any, fields: Sequence[tuple[str, Any]]) -> tuple[Any, tuple[Any, ...]]:
        """Evaluate (socket type, field) pairs on the points, once and together; geometry and captured fields."""
        node = self.node("GeometryNodeCaptureAttribute", domain="POINT")
        names = [f"Field {index}" for index in range(len(fields))]
        for name, (kind, _) in zip(names, fields):
            node.capture_items.new(kind, name)
        self.feed(node.inputs["Geometry"], geometry)
        for name, (_, field) in zip(names, fields):
            self.feed(node.inputs[name], field)
        return node.outputs["Geometry"], tuple(node.outputs[name] for name in names)

    def switch(self, condition: Any, false: Any, true: Any, input_type: str = "GEOMETRY") -> Any:
        """Geometry nodes Switch; the branch that is not taken is not evaluated."""
        return self.call(
            "GeometryNodeSwitch", {"Switch": condition, "False": false, "True": true}, input_type=input_type
        )


def pick(sockets: Any, key: str | int) -> bpy.types.NodeSocket:
    """The enabled socket with this name, or the n-th enabled socket."""
    enabled = [s for s in sockets if s.enabled]
    if isinstance(key, int):
        return enabled[key]
    for socket in enabled:
        if socket.name == key:
            return socket
    raise KeyError(f"no enabled socket {key!r} among {[s.name for s in enabled]}")
