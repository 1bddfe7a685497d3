extends Node3D
## A stage for the avatar: plays its clips, turns the camera around it, shows mesh or splats.
##
## Nothing of this is needed in a game: take the folder "avatar" and put avatar.tscn into a scene.

const TURN := 0.008  # radians a pixel
const ZOOM := 1.1  # a step of the wheel
const LOWEST := 0.1  # metres, of the camera
const FOLLOW := 2.0  # how fast the camera comes along, a second

## The clips in the order of the keys; Godot sorts them by name.
@export var clips: PackedStringArray

var clip := 0
var target := Vector3(0, 0.9, 0)
var yaw := 0.35
var pitch := -0.08
var distance := 3.2
var fingers := {}  # place of each finger on the screen by its index

@onready var avatar: Node3D = $Avatar
@onready var splats: Node3D = avatar.get_node_or_null("Splats")
@onready var camera: Camera3D = $Camera
@onready var look_button: Button = $Interface/Buttons/Look
@onready var clip_button: Button = $Interface/Buttons/Clip
@onready var skeleton: Skeleton3D = _find("Skeleton3D")
@onready var player: AnimationPlayer = _find("AnimationPlayer")
@onready var hips_bone := maxi(skeleton.find_bone("Hips"), 0)
@onready var shadow: Node3D = $Ground/Shadow


func _ready() -> void:
	var found := player.get_animation_list() if player else PackedStringArray()
	clips = Array(clips).filter(func(name: String) -> bool: return name in found)
	_frame()
	look_button.visible = splats != null
	look_button.pressed.connect(show_splats_or_mesh)
	$Interface/Buttons/Previous.pressed.connect(play.bind(-1))
	$Interface/Buttons/Next.pressed.connect(play.bind(1))
	clip_button.pressed.connect(pause)
	for button in [clip_button, $Interface/Buttons/Previous, $Interface/Buttons/Next]:
		button.visible = not clips.is_empty()
	$Interface/Help.text = "Drag: turn    Wheel: closer    Left, right: clip    Space: pause"
	if splats:
		$Interface/Help.text += "    S: splats or mesh"
	show_splats(splats != null)
	play(0)
	var options := OS.get_cmdline_user_args()
	if not options.is_empty():
		# Pictures and speed for checks, without a hand on the mouse: see shots.gd.
		var shots: Node = load("res://shots.gd").new()
		shots.stage = self
		add_child(shots)


## Play the clip that many places after the current one.
func play(step: int) -> void:
	if clips.is_empty():
		return
	clip = posmod(clip + step, clips.size())
	clip_button.text = clips[clip]
	# A clip that does not move a bone would leave it as the clip before did.
	skeleton.reset_bone_poses()
	player.play(clips[clip])


## Stop, or go on.
func pause() -> void:
	if clips.is_empty():
		return
	if player.is_playing():
		player.pause()
	else:
		player.play()


func show_splats_or_mesh() -> void:
	show_splats(not splats.visible)


func show_splats(on: bool) -> void:
	if splats == null:
		return
	splats.visible = on
	for mesh: MeshInstance3D in avatar.find_children("*", "MeshInstance3D", true, false):
		if mesh != splats:
			mesh.visible = not on
	# The edges of splats are soft as they are, and smoothing them again takes most of the time.
	get_viewport().msaa_3d = Viewport.MSAA_DISABLED if on else Viewport.MSAA_4X
	look_button.text = "Show mesh" if on else "Show splats"


func _find(type: String) -> Node:
	var found := avatar.find_children("*", type, true, false)
	return found[0] if found else null


func _process(delta: float) -> void:
	# A soft spot under the person, which costs nothing and looks the same in every renderer; the camera comes along.
	var hips := (skeleton.global_transform * skeleton.get_bone_global_pose(hips_bone)).origin
	shadow.position = Vector3(hips.x, shadow.position.y, hips.z)
	target = target.lerp(Vector3(hips.x, target.y, hips.z), 1 - exp(-FOLLOW * delta))
	_place_camera()


## Aim at the middle of the person, from where all of it is seen.
func _frame() -> void:
	var top := 0.0
	for bone in skeleton.get_bone_count():
		top = maxf(top, skeleton.get_bone_global_rest(bone).origin.y)
	target = Vector3(0, top * 0.53, 0)
	distance = top * 2.3
	_place_camera()


func _place_camera() -> void:
	# Never below the ground.
	pitch = clampf(pitch, -1.4, asin(clampf((target.y - LOWEST) / distance, 0, 1)))
	var turn := Basis.from_euler(Vector3(pitch, yaw, 0))
	camera.transform = Transform3D(turn, target + turn.z * distance)


func _zoom(factor: float) -> void:
	distance = clampf(distance * factor, 0.4, 15.0)


func _unhandled_input(event: InputEvent) -> void:
	if event is InputEventKey and event.pressed:
		match event.keycode:
			KEY_LEFT: play(-1)
			KEY_RIGHT: play(1)
			KEY_SPACE: pause()
			KEY_S when splats: show_splats_or_mesh()
			KEY_ESCAPE: get_tree().quit()
	elif event is InputEventMouseButton and event.pressed:
		match event.button_index:
			MOUSE_BUTTON_WHEEL_UP: _zoom(1 / ZOOM)
			MOUSE_BUTTON_WHEEL_DOWN: _zoom(ZOOM)
	elif event is InputEventMouseMotion and event.button_mask & MOUSE_BUTTON_MASK_LEFT and fingers.size() < 2:
		# One finger on a touch screen comes as the mouse, too.
		yaw -= event.relative.x * TURN
		pitch -= event.relative.y * TURN
	elif event is InputEventMagnifyGesture:
		_zoom(1 / event.factor)
	elif event is InputEventScreenTouch:
		if event.pressed:
			fingers[event.index] = event.position
		else:
			fingers.erase(event.index)
	elif event is InputEventScreenDrag and fingers.has(event.index):
		var before := _spread()
		fingers[event.index] = event.position
		if before > 0 and _spread() > 0:
			_zoom(before / _spread())


## Pixels between two fingers; 0 without two.
func _spread() -> float:
	if fingers.size() != 2:
		return 0.0
	return fingers.values()[0].distance_to(fingers.values()[1])
