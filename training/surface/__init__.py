"""Posed pictures to a signed distance field with colours: what the families that have a surface share.

Read ``neus.py`` (distance -> opacity), ``field.py`` (the field), ``volume.py`` (the loss on a batch of
pixels), ``hull_start.py`` and ``backdrop.py`` (with alpha, without it), ``optimisation.py`` (a step).

What departs from NeuS (Wang et al. 2021) is our choice where no other source is named: grid features and two
small decoders instead of two large networks; gradients from finite differences whose reach follows the finest
level in use, which opens level by level (Li et al. 2023); samples on a lattice in occupied cells instead of
importance sampling; random colours behind alpha, which teach the mask as well as a loss of its own.
"""
