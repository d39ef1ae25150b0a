"""Drawings of layouts, plans, budgets and slots: text, HTML for notebooks, pictures."""

from .budget_page import budget_html
from .budget_picture import plot_budget
from .budget_table import budget_text, rich_budget
from .page import html
from .picture import plot, plot_tree
from .plan_picture import plot_plan
from .plan_table import plan_text
from .slots_page import slots_html
from .slots_picture import plot_slots
from .slots_table import rich_slots, slots_text
from .table import text

__all__ = [
    "budget_html",
    "budget_text",
    "html",
    "plan_text",
    "plot",
    "plot_budget",
    "plot_plan",
    "plot_slots",
    "plot_tree",
    "rich_budget",
    "rich_slots",
    "slots_html",
    "slots_text",
    "text",
]
