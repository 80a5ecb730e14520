"""SGLang programs, one method a file."""

from programs.sequential import sequential_program
from programs.sprint import sprint_program

__all__ = ["sequential_program", "sprint_program"]
