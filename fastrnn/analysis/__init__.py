"""General tools, each usable alone on anybody's arrays: fixed points, linearisations, graphs, similarity."""
