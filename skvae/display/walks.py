"""Walks along the components of a code: where they start, and how far they go."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from scipy.special import ndtr

from skvae.display.components import has_normal_prior
from skvae.latent import SUMS_TO_ONE, traversed_codes

if TYPE_CHECKING:
    from skvae.fitted import FittedModel
    from skvae.posteriors import Posterior

__all__ = ["Walks", "walks_from_centre"]

#: Values of a component, in images and along lines; how far they go, in standard
#: deviations of a normal distribution.
_IMAGES, _ON_LINE, _FAR = 9, 41, 2.0
#: Draws from a prior that tell its quantiles.
_DRAWS = 10_000
_LABEL = "value of the component"


class Walks(NamedTuple):
    """A walk along each component, all from one code."""

    start: np.ndarray  # (n_components,)
    values: np.ndarray  # of each component, (n_components, n_values)
    label: str = _LABEL  # of the axis of values
    names: list[str] | None = None  # of the values, where they are not their own

    def through(self, values: np.ndarray) -> Self:
        """Walks from the same code, in which all components take these values."""
        values = np.tile(values, (len(self.start), 1))
        return self._replace(values=values, label=_LABEL, names=None)

    def codes(self, posterior: "Posterior", components: np.ndarray) -> np.ndarray:
        """Codes on the walks along some components.

        Returns
        -------
        Z : ndarray of shape (n_walks * n_values, n_components)

        Raises
        ------
        ValueError
            If one of them is no code of the posterior.
        """
        walks = [
            traversed_codes(self.start, component, values, posterior.support)
            for component, values in zip(
                components, self.values[components], strict=True
            )
        ]
        Z = np.concatenate(walks)
        if not (np.isfinite(Z) & posterior.contains(Z)).all():
            raise ValueError(
                f"values holds codes that are not {posterior.support}, as those of "
                f"posterior={posterior!r} are."
            )
        return Z


def walks_from_centre(
    fitted: "FittedModel", codes: np.ndarray | None, *, as_images: bool
) -> Walks:
    """Walks along the prior, or the codes of X: from their centre, by quantiles.

    Parameters
    ----------
    fitted : FittedModel
    codes : ndarray of shape (n_samples, n_components) or None
        Of the rows of X. Needed where codes are points, which have no prior.
    as_images : bool
        Whether values stand above columns of images, and so have names that go with
        all components, instead of along the axis of each.

    Returns
    -------
    walks : Walks
    """
    import torch

    from skvae.posteriors import Point

    model, n_components = fitted.model, fitted.model.n_components
    steps = np.linspace(-_FAR, _FAR, _IMAGES if as_images else _ON_LINE)
    if has_normal_prior(fitted):
        walks = Walks(np.zeros(n_components), np.tile(steps, (n_components, 1)))
        return walks._replace(label=f"{_LABEL} (standard deviations of the prior)")
    equal = np.full(n_components, 1 / n_components)
    if model.posterior.is_discrete:
        shares = np.linspace(0, 1, len(steps))
        return Walks(equal, np.tile(shares, (n_components, 1)))
    drawn: Any = codes
    whose = "the codes of X"
    if not isinstance(model.posterior, Point):
        generator = torch.Generator(fitted.device).manual_seed(0)
        drawn = model.prior_of(fitted.weights).sample(_DRAWS, n_components, generator)
        drawn, whose = drawn.numpy(force=True), "the prior"
    is_share = model.posterior.support in SUMS_TO_ONE
    shares = ndtr(steps)
    walks = Walks(
        equal if is_share else np.median(drawn, axis=0),
        np.quantile(drawn, shares, axis=0).T,
    )
    if not as_images:
        return walks
    return walks._replace(
        label=f"{_LABEL} (quantile of {whose})",
        names=[f"{share:.0%}" for share in shares],
    )
