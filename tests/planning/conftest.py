from tests.cells import group_in, quiet, small
from tests.data.conftest import small_demo

__all__ = ["group_in", "quiet", "small", "small_demo"]
