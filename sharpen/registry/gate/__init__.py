"""Is a model good enough to be promoted? The rules, as a pure function of its evaluation and the settings."""

from sharpen.registry.gate.decide import decide
from sharpen.registry.gate.rule import CANNOT_TELL, PROMOTE, REJECT, Decision, Rule

__all__ = ["CANNOT_TELL", "PROMOTE", "REJECT", "Decision", "Rule", "decide"]
