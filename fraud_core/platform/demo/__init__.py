"""`spearhead demo`: the whole product on this machine, phase after phase, each with the real component.

The phases speak to the tiers as a user would, by commands and HTTP; a phase that finds something else than it expects
ends the demo with exit code 1.
"""

from fraud_core.platform.demo.run import run_demo

__all__ = ["run_demo"]
