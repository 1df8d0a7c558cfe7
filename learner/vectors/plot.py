"""A vector as a picture: its norm by layer and by kind of parameter."""

from __future__ import annotations

from pathlib import Path

from learner.vectors.file import Description


def plot_vector(description: Description, path: Path) -> None:
    """Draw one vector's norms into a file (the ending decides the format)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = description.summary
    figure, (layers, kinds) = pyplot.subplots(2, 1, figsize=(8, 6), constrained_layout=True)
    layers.bar(list(found.by_layer), list(found.by_layer.values()), color="#33638d")
    layers.set(title=f"{description.name}: norm {found.norm:.4g}, {found.sparsity:.1%} zeros", xlabel="layer")
    layers.tick_params("x", labelsize=7)
    kinds.barh(list(found.by_kind), list(found.by_kind.values()), color="#3f9e7c")
    kinds.set(xlabel="L2 norm")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
