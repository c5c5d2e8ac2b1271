# pytest tests/commands/test_commands_page.py
"""docs/commands.md is what the declarations of all commands say today."""

import importlib.util

from tests.test_house import ROOT


def test_the_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate_commands", ROOT / "docs" / "generate_commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run `python docs/generate_commands.py`"
