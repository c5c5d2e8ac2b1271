from tests.cells import group_in, quiet, small

__all__ = ["group_in", "quiet", "small"]
