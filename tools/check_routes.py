"""Compare the routes of the functions with those of the template: `make check` runs it.

A route that is missing from template.yaml is never called; one that is only there answers 404.
Exit status: 0 if they are the same; 1 if not, or if a function cannot be loaded.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from local.template import Description
from playground.http import BASE_PATH
from tools.functions import ToolError, loaded_functions


def differences(description: Description, apps: Mapping[str, ModuleType]) -> Sequence[str]:
    """A line for each route that is on one side only, in the order of functions and paths."""
    found: list[str] = []
    for function in sorted(description.functions.values(), key=lambda function: function.logical_id):
        described = {
            (route.path, route.method)
            for api in description.apis
            for route in api.routes
            if route.function == function.logical_id and route.method != "OPTIONS"  # preflights, which no route answers
        }
        in_code = routes_of(apps[function.short_name])
        for path, method in sorted(described ^ in_code):
            where = (
                f"the code of {function.logical_id}, but not in template.yaml"
                if (path, method) in in_code
                else f"template.yaml ({function.logical_id}), but not in the code"
            )
            found.append(f"{method} {path} is in {where}")
    return found


def routes_of(app: ModuleType) -> set[tuple[str, str]]:
    """(path, method) of every route, with the base path; none for a function that is not behind the API."""
    if not hasattr(app, "app"):
        return set()
    routes = (*app.app._static_routes, *app.app._dynamic_routes)
    return {(BASE_PATH + route.openapi_path, route.method) for route in routes}


def main() -> int:
    argparse.ArgumentParser(description="Compare the routes of the functions with those of the template.").parse_args()
    found: Sequence[str]
    try:
        with loaded_functions() as (description, apps):
            found = differences(description, apps)
    except ToolError as error:
        found = [str(error)]
    for line in found:
        print(f"check_routes: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
