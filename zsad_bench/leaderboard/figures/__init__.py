"""Figures from rows, pictures and arrays that others computed: one file per figure, and how all of them look."""
