"""Loads a handler and finds out how it wants to be called."""

import importlib.util
import inspect
import os
import sys

__all__ = ["NotLoaded", "Plugin", "load"]


class NotLoaded(Exception):
    """A sentence that says what of a plugin is missing."""


class Plugin:
    """A handler that is ready to run: a function, or an object whose class was given the options."""

    def __init__(self, handler, options=None, name=None):
        self.name = name or getattr(handler, "__qualname__", type(handler).__name__)
        self._object = None
        if inspect.isclass(handler):
            if not callable(getattr(handler, "run", None)):
                raise NotLoaded(f"the class {self.name} has no method run(self, data, ctx)")
            self._object = handler(**(options or {}))
            self.call = self._object.run
        elif not callable(handler):
            raise NotLoaded(f"{self.name} is neither a function nor a class")
        elif options:
            raise NotLoaded(f"options are for a class, and {self.name} is a function")
        else:
            self.call = handler
        self.is_async = inspect.iscoroutinefunction(self.call)
        self.wants_context = _wants_context(self.call)

    def start(self):
        """Calls the object's start(), where it has one; its answer may have to be awaited."""
        return self._call_optional("start")

    def close(self):
        return self._call_optional("close")

    def _call_optional(self, name):
        method = getattr(self._object, name, None)
        return method() if callable(method) else None


def load(file, name, options=None):
    """The plugin `name` of a Python file, whose folder can be imported from."""
    if not os.path.isfile(file):
        raise NotLoaded(f"the plugin file {file} is not there")
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    module_name = os.path.splitext(os.path.basename(file))[0]
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None:
        raise NotLoaded(f"the plugin file {file} is no Python file: its name should end with .py")
    module = importlib.util.module_from_spec(spec)
    # what the plugin pickles or imports by name finds it
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    handler = module
    for part in name.split("."):
        handler = getattr(handler, part, None)
        if handler is None:
            raise NotLoaded(f"{os.path.basename(file)} has no function or class {name!r}{_offer(module)}")
    return Plugin(handler, options, f"{os.path.basename(file)}:{name}")


def _wants_context(call):
    """A handler is called with (data, ctx) if it takes two positional arguments, else with (data)."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not positional and not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        raise NotLoaded(f"{call.__qualname__} takes no data: write it as {call.__name__}(data, ctx)")
    return len(positional) >= 2 or any(p.kind == p.VAR_POSITIONAL for p in parameters)


def _offer(module):
    names = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    return f"; it has {', '.join(names)}" if names else ""
