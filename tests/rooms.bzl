"""The tests of a folder, run by pytest."""

load("@rules_python//python:defs.bzl", "py_library", "py_test")

def room_tests(name, deps, srcs = None, data = [], slow = False, tags = []):
    """NAME, NAME_slow if there are slow tests, and `helpers`: what the folder has beside tests.

    Args:
        name: of the room.
        deps: what all of its files import.
        srcs: tests; by default those of the folder.
        data: what they read or start.
        slow: whether pytest's marker `slow` is in the folder.
        tags: "manual" for tests that read the whole source tree.
    """
    if srcs == None:
        srcs = native.glob(["**/test_*.py"])
        py_library(
            name = "helpers",
            testonly = True,
            srcs = native.glob(["**/*.py"], exclude = srcs),
            data = native.glob(["**"], exclude = ["**/*.py", "**/*.pyc", "BUILD"]),
            visibility = ["//tests:__subpackages__"],
        )
        deps = deps + [":helpers"]
    if "//clustr_tf:classifier" in deps:
        data = data + ["//clustr_tf/train"]  # which `compile` and `fit` import
    for suffix, marker in [("", "not slow"), ("_slow", "slow")][:2 if slow else 1]:
        py_test(
            name = name + suffix,
            size = "enormous" if suffix else "large",
            srcs = srcs + ["//tests:run_pytest.py"],
            main = "//tests:run_pytest.py",
            args = ["-m", "'%s'" % marker] + ["$(location %s)" % test for test in srcs],
            data = data,
            tags = tags + ["slow"][:1 if suffix else 0],
            deps = deps + ["//tests:conftest"],
        )
