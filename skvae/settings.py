"""What the places where papers differ have in common: frozen settings objects.

A likelihood, posterior, prior, network or objective is described by a small frozen
dataclass. It holds no weights, compares by value, and can be cloned and searched
over as scikit-learn parameters are. A name stands for the object with its defaults.
"""

from dataclasses import fields

__all__ = ["Settings", "from_state", "resolve", "to_state"]


class Settings:
    """Base of the frozen settings dataclasses."""

    def get_params(self, deep=True):
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

    def set_params(self, **params):
        """Refuse: settings are frozen.

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


def resolve(value, families):
    """The settings object that a name stands for; an object is returned as it is."""
    return families[value]() if isinstance(value, str) else value


def to_state(settings, families):
    """Built-in settings as plain data, a user's own object as it is."""
    for name, family in families.items():
        if type(settings) is family:
            return {"name": name, "params": settings.get_params()}
    return settings


def from_state(state, families):
    """Inverse of `to_state`."""
    if isinstance(state, dict):
        return families[state["name"]](**state["params"])
    return state
