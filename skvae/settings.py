"""What the places where papers differ have in common: frozen settings objects.

A likelihood, posterior, prior, network or objective is described by a small frozen
dataclass. It holds no weights, compares by value, and can be cloned and searched
over as scikit-learn parameters are. A name stands for the object with its defaults.
"""

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, NoReturn, TypeAlias, TypeVar

__all__ = ["Settings", "Shapes", "from_state", "resolve", "to_state"]

#: Names and shapes of the weights that one of the places needs.
Shapes: TypeAlias = dict[str, tuple[int, ...]]
Family = TypeVar("Family", bound="Settings")


class Settings:
    """Base of the frozen settings dataclasses."""

    #: Subclasses are dataclasses, and `fields` may read them.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name, as scikit-learn's ``clone`` reads them.

        Parameters
        ----------
        deep : bool, default=True
            Accepted for scikit-learn; settings are not nested.

        Returns
        -------
        params : dict
            The value of each constructor argument.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> NoReturn:
        """Refuse: settings are frozen.

        Parameters
        ----------
        **params : dict
            What was to be set.

        Raises
        ------
        AttributeError
            Always, with the advice to search over objects instead.
        """
        name = type(self).__name__
        raise AttributeError(
            f"{name} settings are frozen: pass a new object, for example "
            f"{name}({', '.join(f'{key}={val!r}' for key, val in params.items())})"
        )


def resolve(value: str | Family, families: Mapping[str, type[Family]]) -> Family:
    """The settings object that a name stands for; an object is returned as it is."""
    return families[value]() if isinstance(value, str) else value


def to_state(
    settings: Family, families: Mapping[str, type[Family]]
) -> dict[str, Any] | Family:
    """Built-in settings as plain data, a user's own object as it is."""
    for name, family in families.items():
        if type(settings) is family:
            return {"name": name, "params": settings.get_params()}
    return settings


def from_state(
    state: dict[str, Any] | Family, families: Mapping[str, type[Family]]
) -> Family:
    """Inverse of `to_state`."""
    if isinstance(state, dict):
        return families[state["name"]](**state["params"])
    return state
