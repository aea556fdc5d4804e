"""One table of what distances say about each factor, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from .dispersion import dispersion
from .factors import check_factors
from .neighbours import neighbour_accuracy
from .permanova import permanova
from .within import within_and_between

# when networks count as clustered by a factor, and as hardly so
CLUSTERED_SHARE, CLUSTERED_P, HARDLY_SHARE = 0.1, 0.01, 0.05


@dataclass(frozen=True)
class Statistics:
    """Statistics of a distance matrix.

    table : DataFrame, one row a factor: `share`, `F`, `p` marginal and `share_alone`, `F_alone`, `p_alone` alone
        (`permanova`); `dispersion_F`, `dispersion_p`; `accuracy`, `accuracy_low`, `accuracy_high`, `chance`,
        `accuracy_p` (`neighbour_accuracy`); `within`, `between`, `difference` with `_low` and `_high`
        (`within_and_between`); `verdict`, "clustered" (share of at least 0.1, p below 0.01, accuracy above chance with
        its interval), "hardly" (share below 0.05) or "between"
    levels : DataFrame, one row a level of a factor: `networks`, mean distance to the centroid `dispersion`,
        `accuracy`, mean distance `within`
    """

    table: pandas.DataFrame
    levels: pandas.DataFrame

    def sentences(self, distance: str = "distance") -> list[str]:
        """A line for each factor.

        distance : what the distances are, e.g. "SVCCA distance"
        """
        return [
            f"{factor} explains {100 * row.share:.1f}% of squared {distance} beside the other factors "
            f"(p = {row.p:.3g}; alone {100 * row.share_alone:.1f}%; {dispersion_said(row.dispersion_p)}); "
            f"nearest neighbours name it with accuracy {row.accuracy:.2f} "
            f"[{row.accuracy_low:.2f}, {row.accuracy_high:.2f}], chance {row.chance:.2f}; "
            f"between minus within {row.difference:.3g} [{row.difference_low:.3g}, {row.difference_high:.3g}]: "
            f"{row.verdict}"
            for factor, row in self.table.iterrows()
        ]


def dispersion_said(p: float) -> str:
    """A dispersion's p in words."""
    return f"dispersion p = {p:.3g}" if np.isfinite(p) else "too few networks of a level to compare dispersions"


def statistics(
    distances,
    factors,
    *,
    permutations: int = 999,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Statistics:
    """What distances between networks say about the factors that the networks differ in.

    Parameters
    ----------
    distances : (N, N)
    factors : mapping or DataFrame, name -> label of each network, (N,), each with two levels or more
    permutations : of every test; the smallest p-value is 1 / (permutations + 1)
    resamples : of networks, for the intervals of mean distances
    confidence : of all intervals
    seed : of permutations and resamples

    Returns
    -------
    Statistics

    Raises
    ------
    UsageError
        as `permanova` and `within_and_between`

    >>> import numpy as np
    >>> points = np.random.default_rng(0).normal(size=(20, 3)) + np.repeat([[0], [5]], 10, axis=0)
    >>> distances = np.linalg.norm(points[:, None] - points, axis=2)
    >>> made = statistics(distances, {"cell": ["gru"] * 10 + ["lstm"] * 10, "seed": ["odd", "even"] * 10})
    >>> made.table.verdict.to_dict()
    {'cell': 'clustered', 'seed': 'hardly'}
    """
    factors = {name: list(labels) for name, labels in check_factors(factors).items()}
    table = permanova(distances, factors, permutations=permutations, seed=seed)
    rows, levels = [], []
    for name, labels in factors.items():
        row, levels_of_factor = _factor(distances, name, labels, permutations, resamples, confidence, seed)
        rows.append(row)
        levels += levels_of_factor
    table = table.join(pandas.DataFrame(rows, index=list(factors))).rename_axis("factor")
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    return Statistics(table, pandas.DataFrame(levels))


def _factor(distances, name, labels, permutations, resamples, confidence, seed):
    """Everything but the shares, of one factor and of its levels."""
    options = {"seed": seed, "name": name}
    spread = dispersion(distances, labels, permutations=permutations, **options)
    near = neighbour_accuracy(distances, labels, confidence=confidence, permutations=permutations, **options)
    means = within_and_between(distances, labels, confidence=confidence, resamples=resamples, **options)
    row = {
        "dispersion_F": spread.F,
        "dispersion_p": spread.p,
        "accuracy": near.accuracy,
        "accuracy_low": near.low,
        "accuracy_high": near.high,
        "chance": near.chance,
        "accuracy_p": near.p,
    }
    for what in ("within", "between", "difference"):
        low, high = getattr(means, f"{what}_interval")
        row |= {what: getattr(means, what), f"{what}_low": low, f"{what}_high": high}
    levels = [
        {
            "factor": name,
            "level": level,
            "networks": labels.count(level),
            "dispersion": spread.means[i],
            "accuracy": near.of_level[i],
            "within": means.of_level[i],
        }
        for i, level in enumerate(spread.levels)
    ]
    return row, levels


def _verdict(row) -> str:
    if row.share >= CLUSTERED_SHARE and row.p < CLUSTERED_P and row.accuracy_low > row.chance:
        return "clustered"
    return "hardly" if row.share < HARDLY_SHARE else "between"
