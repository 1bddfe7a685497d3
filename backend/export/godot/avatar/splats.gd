extends MeshInstance3D
## Gaussian splats that follow the bones of the Skeleton3D beside them.
##
## Reads a GLB of points with KHR_gaussian_splatting, JOINTS_0 and WEIGHTS_0 (linear blend skinning), which Godot must
## keep as a file (Import dock: "Keep File"). The shader skins and projects the splats; a thread sorts them from back
## to front for the current camera. The node follows the skeleton; where it stands in the scene does not matter.

## The splats.
@export_file("*.glb") var file := "res://avatar/avatar_splat.glb"

const EXTENSION := "KHR_gaussian_splatting"
const SHADER := preload("splats.gdshader")
const WIDTH := 1024  # texels a row, as in splats.gdshader
const FLOAT := 5126  # component types of glTF
const BYTE := 5121
const STEPS := 4096.0  # depths that are told apart, a metre
const FAR := 1 << 30  # steps; makes depths positive
const INDICES := 1 << 24  # a sorted number is a depth times this, and the splat's index
const MARGIN := 0.6  # metres around the bones in which splats lie
## Corners of the triangle around the unit circle: fewer vertices than a square.
const CORNERS := [Vector2(0, 2), Vector2(-1.7320508, -1), Vector2(1.7320508, -1)]

## Splats in the file.
var count := 0
## How long the last sorting took.
var sort_seconds := 0.0

var rig: Skeleton3D
var positions: PackedVector3Array
var strongest: PackedByteArray  # the joint with the largest weight
var second: PackedByteArray  # the next
var shares: PackedFloat32Array  # of the second joint in both
var joint_bones: PackedInt32Array  # the skeleton's bone of each joint in the file
var joint_transforms: Array[Transform3D]  # rest to pose, in the skeleton's space
var order_texture := ImageTexture.new()
var bones_texture := ImageTexture.new()
var shader_material := ShaderMaterial.new()
var task := -1
var sorted_planes: Array[Plane]
var order: PackedByteArray


func _ready() -> void:
	var found := get_parent().find_children("*", "Skeleton3D", true, false)
	if found.is_empty():
		push_error("The splats find no Skeleton3D beside them.")
		return
	rig = found[0]
	var problem := _read(FileAccess.get_file_as_bytes(file))
	if problem:
		count = 0
		push_error("%s: %s" % [file, problem])
		return
	shader_material.shader = SHADER
	material_override = shader_material
	cast_shadow = SHADOW_CASTING_SETTING_OFF
	mesh = _triangles()
	_follow()
	_show_order(_sorted(_planes(Vector3.BACK)))
	rig.skeleton_updated.connect(_follow)
	visibility_changed.connect(_follow)


func _exit_tree() -> void:
	if task >= 0:
		WorkerThreadPool.wait_for_task_completion(task)
		task = -1


func _process(_delta: float) -> void:
	if count == 0 or not is_visible_in_tree():
		return
	if task >= 0:
		if not WorkerThreadPool.is_task_completed(task):
			return
		WorkerThreadPool.wait_for_task_completion(task)
		task = -1
		_show_order(order)
	var camera := get_viewport().get_camera_3d()
	if camera == null:
		return
	var planes := _planes(camera.global_basis.z)
	if planes != sorted_planes:
		sorted_planes = planes
		task = WorkerThreadPool.add_task(_sort.bind(planes), true, "sort splats")


## Follow the skeleton and sort for this camera at once, for a still picture.
func settle(camera: Camera3D) -> void:
	if count == 0:
		return
	if task >= 0:
		WorkerThreadPool.wait_for_task_completion(task)
		task = -1
	# The skeleton tells its new pose at the end of the frame.
	await get_tree().process_frame
	await get_tree().process_frame
	if task >= 0:
		WorkerThreadPool.wait_for_task_completion(task)
		task = -1
	_follow()
	sorted_planes = _planes(camera.global_basis.z)
	_show_order(_sorted(sorted_planes))


## Take over the bones' poses.
func _follow() -> void:
	if not is_visible_in_tree():
		return
	global_transform = rig.global_transform
	var rows := PackedFloat32Array()
	var box := AABB(rig.get_bone_global_pose(0).origin, Vector3.ZERO)
	for i in joint_bones.size():
		var pose := rig.get_bone_global_pose(joint_bones[i])
		box = box.expand(pose.origin)
		var to_pose := pose * rig.get_bone_global_rest(joint_bones[i]).affine_inverse()
		joint_transforms[i] = to_pose
		var x := to_pose.basis.x
		var y := to_pose.basis.y
		var z := to_pose.basis.z
		for axis in 3:
			rows.append_array([x[axis], y[axis], z[axis], to_pose.origin[axis]])
	custom_aabb = box.grow(MARGIN)
	var image := Image.create_from_data(3, joint_bones.size(), false, Image.FORMAT_RGBAF, rows.to_byte_array())
	_update(bones_texture, image, "bones")


## How near to the camera a place at rest is, by joint: the distance from a plane. Backwards is where the camera looks
## away from.
func _planes(backwards: Vector3) -> Array[Plane]:
	var planes: Array[Plane] = []
	for to_pose in joint_transforms:
		var world := global_transform * to_pose
		planes.append(Plane(world.basis.transposed() * backwards, -backwards.dot(world.origin)))
	return planes


func _sort(planes: Array[Plane]) -> void:
	var start := Time.get_ticks_usec()
	order = _sorted(planes)
	sort_seconds = (Time.get_ticks_usec() - start) / 1e6


## The splats' indices from back to front, in the lower three of every eight bytes. What a splat's two strongest bones
## do is near enough for its depth.
func _sorted(planes: Array[Plane]) -> PackedByteArray:
	var keys := PackedInt64Array()
	keys.resize(count)
	for i in count:
		var place := positions[i]
		var depth := planes[strongest[i]].distance_to(place)
		if shares[i] > 0.0:
			depth = lerpf(depth, planes[second[i]].distance_to(place), shares[i])
		keys[i] = (int(depth * STEPS) + FAR) * INDICES + i
	keys.sort()
	return keys.to_byte_array()


func _show_order(bytes: PackedByteArray) -> void:
	_update(order_texture, _image(bytes, Image.FORMAT_RGBA8, 4), "order")


func _update(texture: ImageTexture, image: Image, parameter: String) -> void:
	if texture.get_width() == 0:
		texture.set_image(image)
		shader_material.set_shader_parameter(parameter, texture)
	else:
		texture.update(image)


## A mesh whose vertices say which corner of which splat they are.
func _triangles() -> ArrayMesh:
	var corners := PackedVector3Array()
	corners.resize(3 * count)
	for i in count:
		for corner in 3:
			corners[3 * i + corner] = Vector3(CORNERS[corner].x, CORNERS[corner].y, i)
	var arrays := []
	arrays.resize(Mesh.ARRAY_MAX)
	arrays[Mesh.ARRAY_VERTEX] = corners
	var triangles := ArrayMesh.new()
	triangles.add_surface_from_arrays(Mesh.PRIMITIVE_TRIANGLES, arrays)
	return triangles


## Bytes as an image, row by row.
func _image(bytes: PackedByteArray, format: Image.Format, texel: int) -> Image:
	var rows := ceili(bytes.size() / float(texel * WIDTH))
	bytes.resize(rows * texel * WIDTH)
	return Image.create_from_data(WIDTH, rows, false, format, bytes)


## Take the splats out of a GLB file. What is wrong with it, or nothing.
func _read(bytes: PackedByteArray) -> String:
	if bytes.size() < 28 or bytes.slice(0, 4).get_string_from_ascii() != "glTF":
		return "this is no GLB file, or it was left out of the exported game (Import dock: Keep File)."
	var length := bytes.decode_u32(12)
	var document: Variant = JSON.parse_string(bytes.slice(20, 20 + length).get_string_from_utf8())
	if not document is Dictionary:
		return "it is damaged."
	var binary := bytes.slice(28 + length)
	for node: Dictionary in document.get("nodes", []):
		if not (node.has("mesh") and node.has("skin")):
			continue
		for primitive: Dictionary in document.meshes[node.mesh].primitives:
			if EXTENSION in primitive.get("extensions", {}):
				joint_bones.clear()
				for joint: int in document.skins[node.skin].joints:
					var bone := rig.find_bone(document.nodes[joint].name)
					if bone < 0:
						return "the skeleton has no bone %s." % document.nodes[joint].name
					joint_bones.append(bone)
				joint_transforms.resize(joint_bones.size())
				return _read_primitive(document, binary, primitive.attributes)
	return "there are no skinned splats in it."


func _read_primitive(document: Dictionary, binary: PackedByteArray, attributes: Dictionary) -> String:
	var wanted := [  # parameter of the shader, attribute, component type, numbers, format
		["positions", "POSITION", FLOAT, 3, Image.FORMAT_RGBF],
		["rotations", EXTENSION + ":ROTATION", FLOAT, 4, Image.FORMAT_RGBAF],
		["scales", EXTENSION + ":SCALE", FLOAT, 3, Image.FORMAT_RGBF],
		["opacities", EXTENSION + ":OPACITY", FLOAT, 1, Image.FORMAT_RF],
		["harmonics", EXTENSION + ":SH_DEGREE_0_COEF_0", FLOAT, 3, Image.FORMAT_RGBF],
		["joints", "JOINTS_0", BYTE, 4, Image.FORMAT_RGBA8],
		["weights", "WEIGHTS_0", BYTE, 4, Image.FORMAT_RGBA8],
	]
	for row: Array in wanted:
		if not attributes.has(row[1]):
			return "the splats have no %s." % row[1]
		var accessor: Dictionary = document.accessors[attributes[row[1]]]
		var view: Dictionary = document.bufferViews[accessor.bufferView]
		var texel: int = row[3] * (4 if row[2] == FLOAT else 1)
		if int(accessor.componentType) != row[2] or int(view.get("byteStride", texel)) != texel:
			return "%s is stored in a way that is not read here." % row[1]
		count = int(accessor.count)
		var start := int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
		var bytes := binary.slice(start, start + count * texel)
		if bytes.size() != count * texel or count > INDICES:
			return "it is damaged."
		if row[0] == "positions":
			var numbers := bytes.to_float32_array()
			positions.resize(count)
			for i in count:
				positions[i] = Vector3(numbers[3 * i], numbers[3 * i + 1], numbers[3 * i + 2])
		elif row[0] == "joints":
			# The file has them by falling weight.
			strongest.resize(count)
			second.resize(count)
			for i in count:
				strongest[i] = bytes[4 * i]
				second[i] = bytes[4 * i + 1]
		elif row[0] == "weights":
			shares.resize(count)
			for i in count:
				shares[i] = bytes[4 * i + 1] / maxf(bytes[4 * i] + bytes[4 * i + 1], 1)
		shader_material.set_shader_parameter(row[0], ImageTexture.create_from_image(_image(bytes, row[4], texel)))
	return ""
