"""Adaptive Shells: a field with a surface as fuzzy as each place needs, sampled only within a thin envelope.

Source: Wang, Shen, Nimier-David, Sharp, Gao, Keller, Fidler, Mueller, Gojcic, "Adaptive Shells for Efficient
Neural Radiance Field Rendering", SIGGRAPH Asia 2023. Read ``field.py`` (what is learnt), ``level_set.py`` and
``envelope.py`` (the shell around it), ``narrow_band.py`` (few samples within it), ``shells.py`` (the task).
"""

from training.families import Family
from training.families.adaptive_shells import shells

FAMILY = Family({"shells": shells.TASK})
