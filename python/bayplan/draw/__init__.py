"""Drawings of layouts and plans: fixed-width text, HTML for notebooks, matplotlib pictures."""

from .page import html
from .picture import plot, plot_tree
from .plan_picture import plot_plan
from .plan_table import plan_text
from .table import text

__all__ = ["html", "plan_text", "plot", "plot_plan", "plot_tree", "text"]
