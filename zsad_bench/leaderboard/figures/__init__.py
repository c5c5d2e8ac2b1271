"""Figures from rows, pictures and arrays that others computed: one file a figure, and how all of them look."""
