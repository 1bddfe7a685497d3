"""Operators of jobs, results and the backend. Jobs run elsewhere: these only start, stop and import."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import bpy

from .. import install, locations, scene
from ..client import Failure
from ..jobs import ReconstructJob, State
from ..models import BUILT_IN, MODELS, PICTURES
from ..pictures import Picture, find_fault
from ..results import Result
from ..scene.importer import rollback, selection_kept
from . import preferences, properties, runtime, sides
from .avatar import show_solid_colours, to_object_mode
from .layout import OFFLINE_NOTE

_DIRECTORY = {"subtype": "DIR_PATH", "options": {"HIDDEN", "SKIP_SAVE"}}
_PICTURE = {"subtype": "FILE_PATH", "options": {"HIDDEN", "SKIP_SAVE"}}
_ONE_GUESS = "The preset Surface has but one guess: choose Lite"


def pump(operator: bpy.types.Operator) -> set[str]:
    """Let the job that was just started run; without a window, wait for it and report its failure."""
    runtime.ensure_pumped()
    if bpy.app.background:
        runtime.wait()
        failure = runtime.manager().failure
        if failure is not None:
            operator.report({"ERROR"}, f"{failure.message} {failure.fix}".strip())
            return {"CANCELLED"}
    return {"FINISHED"}


class HUMANSPLAT_OT_choose_photo(sides.PictureChooser, bpy.types.Operator):
    """Choose the picture of a person, best from head to feet"""

    bl_idname = "humansplat.choose_photo"
    bl_label = "Choose Photo"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Load the picture and make it the scene's photo."""
        try:
            context.scene.humansplat.photo = bpy.data.images.load(self.filepath, check_existing=True)
        except RuntimeError as error:
            self.report({"ERROR"}, f"This file cannot be opened as a picture: {error}")
            return {"CANCELLED"}
        sides.warn_of_unshown(self, context.scene.humansplat.photo)
        return {"FINISHED"}


class HUMANSPLAT_OT_reconstruct(bpy.types.Operator):
    """Make a posable Gaussian-splat avatar of the person in the photo. Blender stays usable meanwhile"""

    bl_idname = "humansplat.reconstruct"
    bl_label = "Reconstruct from Image"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(
        name="Photo", description="Picture file; empty takes the scene's photo", subtype="FILE_PATH"
    )
    preset: bpy.props.EnumProperty(items=properties.PRESETS, name="Preset")
    sides: bpy.props.EnumProperty(items=properties.SOURCES, name="Sides")
    body: bpy.props.EnumProperty(items=properties.BODIES, name="Body")
    lower: bpy.props.EnumProperty(items=properties.LOWER, name="Legs")
    seed: bpy.props.IntProperty(name="Seed", min=0)
    person: bpy.props.IntProperty(name="Person", description="1 is the largest", min=1, default=1)
    shading: bpy.props.FloatProperty(**properties.SHADING)
    device: bpy.props.EnumProperty(items=preferences.DEVICES, name="Device")
    back: bpy.props.StringProperty(name="Back", description="Picture file of the person's back", **_PICTURE)
    left: bpy.props.StringProperty(name="Left", description="Picture file of the person's own left side", **_PICTURE)
    right: bpy.props.StringProperty(name="Right", description="Picture file of the person's own right side", **_PICTURE)
    further: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement,
        name="Further Pictures",
        description="Picture files of the person from anywhere else, whole paths as names",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs a backend and no other job."""
        if not runtime.idle(cls):
            return False
        if runtime.current_environment() is None:
            cls.poll_message_set("Install the backend first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; without a window, also wait for it.

        The scene's pictures of other sides belong to the scene's photo: with a file of its own, or with pictures of its
        own, the operator takes none of them.
        """
        settings = context.scene.humansplat
        runtime.replace_next(None)  # also where an earlier job that was to replace an avatar has failed
        try:
            photo = Path(bpy.path.abspath(self.filepath)) if self.filepath else _scene_photo(settings)
            pictures = sides.given_pictures(self)
            choice = self.sides if self.properties.is_property_set("sides") else settings.sides
            source = BUILT_IN if pictures else sides.source_of(choice)
            if pictures is None:
                pictures = () if self.filepath or choice != PICTURES else sides.chosen_pictures(settings)
        except RuntimeError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        runtime.start_reconstruct(_job(settings, photo, pictures, source, self))
        return pump(self)


def _scene_photo(settings: bpy.types.PropertyGroup) -> Path:
    """The file of the scene's photo.

    Raises:
        RuntimeError: there is none, or it cannot be read; the text is a sentence.
    """
    if settings.photo is None:
        raise RuntimeError("Choose a photo first")
    try:
        return runtime.photo_file(settings.photo)
    except (RuntimeError, OSError) as error:
        raise RuntimeError(f"The photo cannot be read: {error}") from error


def _job(
    settings: bpy.types.PropertyGroup,
    photo: Path,
    pictures: tuple[Picture, ...],
    source: str,
    given: HUMANSPLAT_OT_reconstruct | None = None,
) -> ReconstructJob:
    """The job of these pictures, by the scene's settings and those that an operator sets instead."""

    def value(name: str, otherwise: Any) -> Any:
        own = given is not None and given.properties.is_property_set(name)
        return getattr(given if own else otherwise, name)

    person = value("person", settings)
    return ReconstructJob(
        photo,
        value("preset", settings),
        value("seed", settings),
        person if person > 1 else None,
        value("device", preferences.get()),
        value("body", settings),
        value("shading", settings),
        pictures,
        source,
        value("lower", settings),
    )


class HUMANSPLAT_OT_another_back(bpy.types.Operator):
    """Make the avatar again with the next seed: another guess at what the pictures do not show. It takes the place of
    the selected avatar, whose pose and action stay, and is made from the same pictures or by the same large model"""

    bl_idname = "humansplat.another_back"
    bl_label = "Another Back"
    bl_options = {"REGISTER"}

    replace: bpy.props.BoolProperty(
        name="Replace", description="Put it in the place of the selected avatar, not beside it", default=True
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Needs what reconstructing needs, and a preset or a large model that guesses."""
        if not HUMANSPLAT_OT_reconstruct.poll(context):
            return False
        settings = context.scene.humansplat
        if settings.preset == "surface" and settings.sides not in MODELS:
            cls.poll_message_set(_ONE_GUESS)
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take the next seed and reconstruct, from the pictures or by the large model of the selected avatar if that is
        of the same photo."""
        settings = context.scene.humansplat
        armature = scene.avatar_armature(context.object)
        try:
            photo = _scene_photo(settings)
            made = sides.result_of(armature, photo)
            source = sides.source_of(settings.sides if made is None else made.sides)
            if made is None:
                pictures = sides.chosen_pictures(settings)
            else:
                pictures = made.pictures
                self._check_kept(armature.name, made, settings)
            if source == BUILT_IN and settings.preset == "surface":
                raise RuntimeError(_ONE_GUESS)
        except RuntimeError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings.seed += 1
        runtime.replace_next(armature if self.replace else None)
        runtime.start_reconstruct(_job(settings, photo, pictures, source))
        done = pump(self)
        if runtime.manager().failure is not None:
            runtime.replace_next(None)
        return done

    def _check_kept(self, name: str, made: Result, settings: bpy.types.PropertyGroup) -> None:
        """See whether the pictures that an avatar was made from are still there, and say where it was made otherwise
        than is chosen now.

        Raises:
            RuntimeError: one is not there; the text is a sentence.
        """
        fault = find_fault(made.pictures)
        if fault is not None:
            # To choose it again in the panel would not help.
            raise RuntimeError(
                f"{fault.message} {name} was made from it. Put the file back, or press Reconstruct from Image, which "
                "uses the pictures that are chosen now."
            )
        if made.sides != BUILT_IN and made.sides != settings.sides:
            self.report({"INFO"}, f"As {name} was: the other sides by {MODELS[made.sides]}")
        elif made.sides == BUILT_IN and (settings.sides in MODELS or len(made.pictures) != sides.used_count(settings)):
            self.report({"INFO"}, f"As {name} was: {sides.describe_count(len(made.pictures))}")


class HUMANSPLAT_OT_import_avatar(bpy.types.Operator):
    """Import an avatar package: splats, body and armature, at the 3D cursor"""

    bl_idname = "humansplat.import_avatar"
    bl_label = "Import Avatar"
    bl_options = {"REGISTER", "UNDO"}

    directory: bpy.props.StringProperty(name="Avatar package", **_DIRECTORY)
    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    replace: bpy.props.StringProperty(
        name="Replace",
        description="Armature of the avatar whose place, pose and action the new one takes; empty: none",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs no other job, unless that job is the import."""
        return runtime.manager().state is State.IMPORTING or runtime.idle(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Import the given folder from the timer, which keeps Blender usable meanwhile, or ask for one."""
        if self.directory or self.filepath:
            runtime.replace_next(bpy.data.objects.get(self.replace))
            runtime.start_import(self._folder())
            return {"CANCELLED"}  # nothing to undo yet: the timer's call makes the undo step
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def _folder(self) -> Path:
        """The package's folder; a file in it stands for it."""
        if self.filepath and not self.directory:
            return Path(bpy.path.abspath(self.filepath)).parent
        return Path(bpy.path.abspath(self.directory))

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import into the current scene; where it fails, mode, selection and scene are as they were."""
        folder = self._folder()
        manager = runtime.manager()
        if manager.state is not State.IMPORTING:
            manager.dismiss()
        old = scene.find_avatar(bpy.data.objects.get(self.replace)) if self.replace else None
        try:
            prepared = runtime.take_prepared(folder) or scene.prepare_avatar(folder)
            with selection_kept(context), rollback():
                to_object_mode(context)
                place = context.scene.cursor.location if old is None else (0, 0, 0)
                imported = scene.import_avatar(context, folder, prepared=prepared, location=place)
                if old is not None:
                    imported = scene.replace_avatar(context, old, imported)
        except (OSError, ValueError) as error:
            self.report({"ERROR"}, f"{folder.name} cannot be imported: {error}")
            return {"CANCELLED"}
        except Exception as error:
            traceback.print_exc()
            self.report({"ERROR"}, f"{folder.name} cannot be imported ({type(error).__name__}: {error})")
            return {"CANCELLED"}
        thinned = scene.suit_viewport(imported.splats) if old is None else ""
        if thinned:
            manager.add_notes([thinned])
        if preferences.get().setup_scene:
            runtime.note_setup(scene.scene_setup(context.scene) + show_solid_colours(context))
        if manager.state is not State.IMPORTING:
            manager.say(f"{imported.armature.name} is imported.")
        self.report({"INFO"}, f"Imported {imported.armature.name}")
        return {"FINISHED"}


class HUMANSPLAT_OT_cancel(bpy.types.Operator):
    """Stop the running job; nothing half-finished is left behind"""

    bl_idname = "humansplat.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs a job."""
        return runtime.manager().busy

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask the job to stop."""
        runtime.manager().cancel()
        runtime.ensure_pumped()
        return {"FINISHED"}


class HUMANSPLAT_OT_install_backend(bpy.types.Operator):
    """Download PyTorch and the pose networks into the extension's own folder"""

    bl_idname = "humansplat.install_backend"
    bl_label = "Install Backend"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs online access and no other job."""
        if not runtime.idle(cls):
            return False
        if not bpy.app.online_access:
            cls.poll_message_set(OFFLINE_NOTE)
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Say what will be downloaded first."""
        return context.window_manager.invoke_props_dialog(self, width=420, confirm_text="Install")

    def draw(self, _context: bpy.types.Context) -> None:
        """The dialog's text."""
        column = self.layout.column(align=True)
        for line in (
            "Downloads about 0.5 GB (3 GB with an NVIDIA card):",
            "    PyTorch and Python packages (BSD, MIT and similar licences)",
            "    the pose networks of MediaPipe (Apache 2.0 licence)",
            f"They take 1.5 GB on the disk (6 GB with an NVIDIA card), in {locations.install_roots()[0]}.",
            "You can cancel at any time.",
        ):
            column.label(text=line)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the installation; without a window, also wait for it."""
        roots = locations.install_roots()
        job = install.InstallJob(
            locations.blender_python(),
            roots[0],
            locations.extension_root(),
            locations.install_log(),
            roots[1:],
        )
        runtime.manager().start_install(job)
        return pump(self)


class HUMANSPLAT_OT_remove_backend(bpy.types.Operator):
    """Delete the installed backend; avatars stay"""

    bl_idname = "humansplat.remove_backend"
    bl_label = "Remove"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs an installed backend."""
        if not runtime.idle(cls):
            return False
        if not preferences.backend_is_installed():
            cls.poll_message_set("No backend has been installed by the add-on")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Delete it on a thread."""
        roots = locations.install_roots()
        runtime.manager().start_removal(lambda: install.remove(roots))
        runtime.ensure_pumped()
        if bpy.app.background:
            runtime.wait()
        return {"FINISHED"}


class HUMANSPLAT_OT_test_backend(bpy.types.Operator):
    """Start the backend and see whether everything it needs is there"""

    bl_idname = "humansplat.test_backend"
    bl_label = "Test Backend"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs an environment."""
        if not runtime.idle(cls):
            return False
        if runtime.current_environment() is None:
            cls.poll_message_set("Install the backend, or choose an environment")
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the check; without a window, also wait for it."""
        spec = runtime.backend_spec()
        assert spec is not None
        runtime.manager().start_check(spec)
        return pump(self)


class HUMANSPLAT_OT_stop_backend(bpy.types.Operator):
    """End the backend process, which keeps its networks in memory between two photos"""

    bl_idname = "humansplat.stop_backend"
    bl_label = "Free Memory"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Needs an idle backend process."""
        if not runtime.idle(cls):
            return False
        if not runtime.manager().backend_running:
            cls.poll_message_set("The backend is not running")
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """End it."""
        runtime.manager().stop_backend()
        return {"FINISHED"}


class HUMANSPLAT_OT_open_preferences(bpy.types.Operator):
    """Show the add-on's preferences"""

    bl_idname = "humansplat.open_preferences"
    bl_label = "Open Preferences"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open the preferences window on the add-on."""
        return bpy.ops.preferences.addon_show(module=locations.ADDON_ID)


class HUMANSPLAT_OT_allow_online(bpy.types.Operator):
    """Show the preferences where online access is allowed"""

    bl_idname = "humansplat.allow_online"
    bl_label = "Open System Preferences"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open the preferences window on its system page."""
        return bpy.ops.screen.userpref_show("INVOKE_DEFAULT", section="SYSTEM")


class HUMANSPLAT_OT_copy_details(bpy.types.Operator):
    """Copy the error with its details to the clipboard, for a bug report"""

    bl_idname = "humansplat.copy_details"
    bl_label = "Copy Details"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy."""
        manager = runtime.manager()
        failure = manager.failure or Failure("none", "There is no error.")
        lines = [
            f"Blender {bpy.app.version_string}",
            f"Backend: {manager.backend_info or 'not started'}",
            f"{failure.kind}: {failure.message}",
            failure.fix,
            failure.details,
        ]
        context.window_manager.clipboard = "\n".join(lines)
        self.report({"INFO"}, "Copied")
        return {"FINISHED"}


class HUMANSPLAT_OT_open_log(bpy.types.Operator):
    """Open what the backend or its installation has written"""

    bl_idname = "humansplat.open_log"
    bl_label = "Open Log"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open the newer log file in the system's viewer."""
        logs = [path for path in (locations.backend_log(), locations.install_log()) if path.is_file()]
        if not logs:
            self.report({"WARNING"}, "There is no log yet")
            return {"CANCELLED"}
        newest = max(logs, key=lambda path: path.stat().st_mtime)
        return bpy.ops.wm.path_open(filepath=str(newest))


class HUMANSPLAT_OT_dismiss(bpy.types.Operator):
    """Put this message away"""

    bl_idname = "humansplat.dismiss"
    bl_label = "Dismiss"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Forget the error."""
        runtime.manager().dismiss()
        return {"FINISHED"}


class HUMANSPLAT_OT_open_folder(bpy.types.Operator):
    """Show the avatar's files"""

    bl_idname = "humansplat.open_folder"
    bl_label = "Open Folder"

    directory: bpy.props.StringProperty(**_DIRECTORY)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open the folder in the system's file manager."""
        return bpy.ops.wm.path_open(filepath=self.directory)


class HUMANSPLAT_OT_forget_result(bpy.types.Operator):
    """Take the avatar off this list; its files and what was imported stay"""

    bl_idname = "humansplat.forget_result"
    bl_label = "Remove from List"

    directory: bpy.props.StringProperty(**_DIRECTORY)
    delete: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def description(cls, _context: bpy.types.Context, options: bpy.types.OperatorProperties) -> str:
        """Tooltip."""
        return "Delete the avatar's files from the disk" if options.delete else (cls.__doc__ or "")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask before files are deleted."""
        if self.delete:
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Forget it, and delete it where asked to."""
        folder = Path(self.directory)
        try:
            if not self.delete:
                runtime.results().forget(folder)
            elif not runtime.results().delete(folder):
                self.report(
                    {"WARNING"}, f"{folder.name} was not deleted: it is not in the list, or one of its files is open"
                )
                return {"CANCELLED"}
        except OSError as error:
            self.report({"ERROR"}, f"The list of avatars cannot be written: {error.strerror or error}")
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    HUMANSPLAT_OT_choose_photo,
    HUMANSPLAT_OT_reconstruct,
    HUMANSPLAT_OT_another_back,
    HUMANSPLAT_OT_import_avatar,
    HUMANSPLAT_OT_cancel,
    HUMANSPLAT_OT_install_backend,
    HUMANSPLAT_OT_remove_backend,
    HUMANSPLAT_OT_test_backend,
    HUMANSPLAT_OT_stop_backend,
    HUMANSPLAT_OT_open_preferences,
    HUMANSPLAT_OT_allow_online,
    HUMANSPLAT_OT_copy_details,
    HUMANSPLAT_OT_open_log,
    HUMANSPLAT_OT_dismiss,
    HUMANSPLAT_OT_open_folder,
    HUMANSPLAT_OT_forget_result,
)
