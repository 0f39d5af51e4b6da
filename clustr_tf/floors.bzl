"""The floors of the package: a room imports the rooms of the floors below its own, and no other.

Bazel's visibility says so, and tests/test_floors.py holds every import against it.
"""

load("@rules_python//python:defs.bzl", "py_binary", "py_library")

# From top to bottom; rooms of one floor do not know each other. `classifier` is a file of the
# package's own folder, as are the public names of its __init__.py. Above all are the entry points.
FLOORS = [
    ["cli"],
    ["tune", "serve"],
    ["train", "evaluate"],
    ["methods"],
    ["certify"],
    ["classifier"],
    ["attacks"],
    ["backbones", "data"],
    ["losses"],
    ["layers"],
    ["run"],
]

# Of the rooms; `command` at the top of the tree has a target for each.
ENTRY_POINTS = ["__main__.py", "trial_process.py"]

_OUTSIDE = [
    "//:__pkg__",
    "//benchmarks:__pkg__",
    "//clustr_tf/serve/commands:__pkg__",
    "//tests:__subpackages__",
]

def room(name, deps, srcs = None, **kwargs):
    """The library of a room, which the rooms above it may use, and whatever is outside the rooms.

    Args:
        name: of the room and of its folder.
        deps: the rooms and packages that it imports.
        srcs: its files; by default all of the folder but entry points.
        **kwargs: as of `py_library`.
    """
    visibility = list(_OUTSIDE)
    if name != "cli":
        visibility.append("//clustr_tf:__pkg__")
    for floor in FLOORS:
        if name in floor:
            break
        visibility += ["//clustr_tf/%s:__pkg__" % above for above in floor if above != "classifier"]
    py_library(
        name = name,
        srcs = srcs or native.glob(["**/*.py"], exclude = ENTRY_POINTS),
        data = kwargs.pop("data", []) + native.glob(["templates/*", "*/templates/*"]),
        deps = deps,
        visibility = visibility,
        **kwargs
    )
    native.exports_files(native.glob(ENTRY_POINTS), visibility = ["//:__pkg__"])

def _script_impl(context):
    lines = ["from %s import cli" % context.attr.module, "", "cli()", ""]
    context.actions.write(context.outputs.script, "\n".join(lines))

_script = rule(_script_impl, attrs = {"module": attr.string(), "script": attr.output()})

def command(name, module, deps, srcs = []):
    """A console command, as pip installs it.

    Args:
        name: of the command.
        module: whose function `cli` it calls.
        deps: what the module, or its library, needs.
        srcs: the module's file, where it is no library's.
    """
    _script(name = name + "_script", script = name + ".py", module = module)
    py_binary(
        name = name,
        srcs = [name + ".py"] + srcs,
        visibility = ["//tests:__subpackages__"],
        # Whose __init__.py makes the classes of a saved model known to Keras.
        deps = deps + ["//clustr_tf"],
    )
