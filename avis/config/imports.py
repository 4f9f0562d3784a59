"""IMPORTS: modules of the user's, which register parts and add config keys."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from types import ModuleType

from detectron2.config import CfgNode

from avis.config.errors import ConfigError, one_line


def import_modules(names: Sequence[str], cfg: CfgNode) -> None:
    """Import modules, and let each add its keys by its ``add_config(cfg)``, if it has one.

    Modules are looked for where Python finds them, and then in the working directory.

    Raises:
        ConfigError: a name is no module's, or a module or its ``add_config`` fails.
    """
    for name in names:
        try:
            _add_keys(_import(name), cfg)
        except ModuleNotFoundError as error:
            if _is_about(error, name):
                raise ConfigError(
                    f"IMPORTS: there is no module {name!r}, neither installed, nor on PYTHONPATH, "
                    f"nor in {os.getcwd()}"
                ) from error
            raise _failure(name, error) from error
        except Exception as error:  # a user's module may raise anything
            raise _failure(name, error) from error


def _import(name: str) -> ModuleType:
    top = name.partition(".")[0]
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        _import_from_working_directory(top)
    return importlib.import_module(name)


def _import_from_working_directory(name: str) -> None:
    """Do what ``import`` does, without a change of sys.path that all later imports would see."""
    spec = PathFinder.find_spec(name, [os.getcwd()])
    if spec is None:
        return
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        if spec.loader is not None:  # a folder without __init__.py has none
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # a module that failed is not there
        raise


def _add_keys(module: ModuleType, cfg: CfgNode) -> None:
    if hasattr(module, "add_config"):
        module.add_config(cfg)


def _is_about(error: ModuleNotFoundError, name: str) -> bool:
    """Whether the module itself or a package around it is missing, rather than something it imports."""
    return f"{name}.".startswith(f"{error.name}.")


def _failure(name: str, error: Exception) -> ConfigError:
    return ConfigError(f"IMPORTS: module {name!r} raises {type(error).__name__}: {one_line(error)}")
