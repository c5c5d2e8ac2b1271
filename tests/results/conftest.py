from tests.made_up_rows import board

__all__ = ["board"]
