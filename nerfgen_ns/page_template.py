"""Templates of the pages that a browser shows."""

from __future__ import annotations

from typing import Any


def page_template(package: str, name: str, **filters: Any) -> Any:
    """A template in the folder `templates` of a package, a jinja2 `Template`.

    Args:
        package: its import name.
        name: the template's file.
        filters: functions that the template calls by these names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        # Names of files and classes are other people's: all of them are escaped.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
