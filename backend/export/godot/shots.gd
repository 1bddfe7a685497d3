extends Node
## Pictures of exact moments, and frames a second, for checks from the command line:
##
##   godot --path FOLDER -- --out=FOLDER [--shots=0,0.5,1] [--clip=NAME] [--size=540x720] [--splats]
##       [--camera=FOV,X,Y,Z,TARGET_X,TARGET_Y,TARGET_Z] [--speed=SECONDS]
##
## Times are shares of the clip, 0..1. FOV is vertical, in degrees; the camera stands and looks in glTF's coordinates,
## which are Godot's. Pictures are OUT/shot_0.png and so on, of the avatar alone, on transparency. --speed plays the
## clip in the window for that long and prints the frames a second.

var stage: Node3D
var options := {}
var view: SubViewport


func _ready() -> void:
	for argument in OS.get_cmdline_user_args():
		var parts := argument.trim_prefix("--").split("=", true, 1)
		options[parts[0]] = parts[1] if parts.size() > 1 else ""
	stage.show_splats(options.has("splats"))
	var wanted: String = options.get("clip", "")
	if wanted and not wanted in stage.clips:
		_fail("There is no clip %s; there are %s." % [wanted, ", ".join(stage.clips)])
		return
	if wanted:
		stage.clip = stage.clips.find(wanted)
		stage.play(0)
	if options.has("shots"):
		if not await _shoot():
			return
	if options.has("speed"):
		await _measure(float(options["speed"]))
	get_tree().quit()


func _fail(message: String) -> void:
	printerr("shots: ", message)
	get_tree().quit(1)


func _shoot() -> bool:
	if DisplayServer.get_name() == "headless":
		_fail("Pictures need a display; headless Godot draws nothing.")
		return false
	var size: PackedStringArray = options.get("size", "540x720").split("x")
	var numbers: PackedFloat64Array = options.get("camera", "40,0,0.9,3.2,0,0.9,0").split_floats(",")
	view = SubViewport.new()
	view.size = Vector2i(int(size[0]), int(size[1]))
	view.transparent_bg = true
	view.msaa_3d = Viewport.MSAA_DISABLED
	view.render_target_update_mode = SubViewport.UPDATE_ALWAYS
	var camera := Camera3D.new()
	camera.environment = Environment.new()  # no sky, no colour behind the avatar
	camera.fov = numbers[0]
	view.add_child(camera)
	add_child(view)
	camera.look_at_from_position(Vector3(numbers[1], numbers[2], numbers[3]), Vector3(numbers[4], numbers[5], numbers[6]))
	stage.get_node("Ground").hide()
	if stage.player and not stage.clips.is_empty():
		# Else the end of a clip is its beginning.
		stage.player.get_animation(stage.clips[stage.clip]).loop_mode = Animation.LOOP_NONE
	var shots: PackedFloat64Array = options["shots"].split_floats(",")
	for i in shots.size():
		if stage.player:
			stage.player.seek(shots[i] * stage.player.current_animation_length, true)
			stage.player.pause()
		if stage.splats:
			await stage.splats.settle(camera)
		await _drawn()
		await _drawn()
		var path: String = options.get("out", ".").path_join("shot_%d.png" % i)
		if view.get_texture().get_image().save_png(path) != OK:
			_fail("%s cannot be written." % path)
			return false
		print("shots: ", path)
	return true


func _drawn() -> void:
	await RenderingServer.frame_post_draw


func _measure(seconds: float) -> void:
	DisplayServer.window_set_vsync_mode(DisplayServer.VSYNC_DISABLED)
	if view:
		view.render_target_update_mode = SubViewport.UPDATE_DISABLED
	if stage.player and not stage.clips.is_empty():
		stage.player.get_animation(stage.clips[stage.clip]).loop_mode = Animation.LOOP_LINEAR
	stage.play(0)
	await _drawn()
	var first := Engine.get_frames_drawn()
	var start := Time.get_ticks_usec()
	while Time.get_ticks_usec() - start < seconds * 1e6:
		await _drawn()
	var passed := (Time.get_ticks_usec() - start) / 1e6
	var drawn := Engine.get_frames_drawn() - first
	print("shots: %.1f frames a second, %s" % [drawn / passed, RenderingServer.get_video_adapter_name()])
	if stage.splats and stage.splats.visible:
		print("shots: %d splats sorted in %.0f ms" % [stage.splats.count, stage.splats.sort_seconds * 1000])
