"""Drawings of layouts: fixed-width text, HTML for notebooks, pictures with matplotlib."""

from .page import html
from .picture import plot, plot_tree
from .table import text

__all__ = ["html", "plot", "plot_tree", "text"]
