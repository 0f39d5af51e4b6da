"""Stands in for what MODULE.bazel fetches: packages and interpreter are those installed."""

def _native_rules_impl(repository):
    package = repository.attr.package
    repository.file("BUILD")
    repository.file(package + "/BUILD")
    repository.file(package + "/defs.bzl", "\n".join([
        "%s = native.%s" % (rule, rule)
        for rule in repository.attr.rules
    ]))

# Bazel 4 has these rules built in; newer ones load them from repositories.
native_rules = repository_rule(
    implementation = _native_rules_impl,
    attrs = {"package": attr.string(), "rules": attr.string_list()},
)

def _empty_targets_impl(repository):
    repository.file("BUILD", "\n".join([
        'filegroup(name = "%s", visibility = ["//visibility:public"])' % name
        for name in repository.attr.targets
    ]))

# What Bazel asks for and these targets never use.
empty_targets = repository_rule(
    implementation = _empty_targets_impl,
    attrs = {"targets": attr.string_list()},
)

def _stub_pip_impl(repository):
    names = []
    for line in repository.read(repository.attr.requirements).splitlines():
        name = line.split("#")[0].split("==")[0].strip()
        if name:
            names.append(name)
    repository.file("BUILD", "\n".join([
        'py_library(name = "%s", visibility = ["//visibility:public"])' % name
        for name in names
    ]))
    repository.file("requirements.bzl", "def requirement(name):\n    return \"@pip//:\" + name\n")

# One empty library for each line of requirements.txt: what it does not list cannot be required.
stub_pip = repository_rule(
    implementation = _stub_pip_impl,
    attrs = {"requirements": attr.label(allow_single_file = True)},
)

def _installed_python_impl(repository):
    repository.file("BUILD", """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "runtime",
    interpreter_path = "%s",
    python_version = "PY3",
)

py_runtime_pair(
    name = "pair",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
""" % repository.os.environ["CLUSTR_PYTHON"])

installed_python = repository_rule(
    implementation = _installed_python_impl,
    environ = ["CLUSTR_PYTHON"],
)
