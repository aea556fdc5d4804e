"""Train populations of small recurrent networks and compare their dynamics.

Public names only; each is loaded on first use, so that `import fastrnn` stays quick.

>>> import fastrnn
>>> fastrnn.Networks.initialize("gru", "tanh", n=4, D=3, K=3, keys=[1]).W_rec.shape
(1, 4, 12)
"""

from importlib import import_module

_HOMES = {
    "Cycles": "analysis.cycles",
    "FastrnnError": "errors",
    "FixedPoints": "analysis.points",
    "Interrupted": "progress",
    "LineAttractor": "analysis.line_attractor",
    "Linearization": "analysis.linearization",
    "Networks": "networks",
    "PopulationSpec": "spec",
    "ResponseMark": "analysis.similarity",
    "ResponseWarning": "analysis.similarity",
    "Run": "runs",
    "RunError": "errors",
    "SearchSpec": "search",
    "Status": "errors",
    "Task": "tasks",
    "TransitionGraph": "analysis.transitions",
    "UpdateFunction": "analysis.maps",
    "UsageError": "errors",
    "analyze": "pipeline",
    "canonical_correlations": "analysis.similarity",
    "cka": "analysis.similarity",
    "compare_networks": "analysis.comparison",
    "dynamical_distances": "analysis.dsa",
    "embed": "analysis.embedding",
    "engines": None,
    "find_cycles": "analysis.cycles",
    "find_fixed_points": "analysis.fixed_points",
    "from_current": "importing",
    "from_leaky": "importing",
    "from_torch": "importing",
    "get_task": "tasks",
    "graph_distances": "analysis.graph_distance",
    "heteroclinic_paths": "analysis.transitions",
    "line_attractor": "analysis.line_attractor",
    "line_attractors": "analysis.line_attractor",
    "linear_integral": "analysis.modes",
    "linearize": "analysis.linearization",
    "load_analysis": "studies",
    "load_comparison": "analysis.comparison",
    "load_run": "runs",
    "load_search": "search",
    "merge_runs": "merging",
    "pairwise_distances": "analysis.similarity",
    "permanova": "analysis.statistics",
    "search_hyperparameters": "search",
    "statistics": "analysis.statistics",
    "svcca": "analysis.similarity",
    "train": "training",
    "transition_graph": "analysis.transitions",
    "transition_graphs": "analysis.transitions",
    "update_from_torch": "analysis.torch_gru",
    "write_index": "report",
    "write_report": "report",
}

__all__ = [*_HOMES]


def __getattr__(name):
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'fastrnn' has no attribute {name!r}")
    home = _HOMES[name]
    value = import_module(f".{name}", __name__) if home is None else getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def _version() -> str:
    """The installed version; "unknown" for sources that were never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fastrnn")
    except PackageNotFoundError:
        return "unknown"


def __dir__():
    return [*_HOMES, "__version__"]
