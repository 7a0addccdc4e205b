"""KiloNeuS: a signed distance field from posed pictures, by one network or by thousands of tiny ones.

``teacher.py`` is NeuS on a grid and a task of its own; ``students.py`` splits it over the cells of a grid.
Source: Esposito et al. 2022 for the idea, Reiser et al. 2021 (KiloNeRF) and Wang et al. 2021 (NeuS) for how;
each file says what is whose.
"""

from training.families import Family
from training.families.kiloneus import students, teacher

FAMILY = Family(tasks={"students": students.TASK, "teacher": teacher.TASK})
