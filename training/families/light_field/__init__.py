"""Mobile neural light fields: one forward pass of a network makes the whole picture.

Source: MobileR2L (Cao et al., CVPR 2023, arXiv 2212.08057), after R2L (Wang et al., ECCV 2022): a deep
network sees the rays of a coarse map as points along them, and learnt upsampling makes the picture; it is
distilled from pictures that a teacher draws from thousands of places. ``train.preset=mobile_r2l`` is their
network; E, G, J and K are smaller ones of the same kind.

Where we differ, each a choice:
- The default network gathers features of a grid at the points (EG3D, Chan et al., CVPR 2022), and so needs
  few layers after that: it learns in minutes on two cores, and is small enough for software OpenGL.
- Networks but the paper's own are trained without batch normalisation, on windows of views.
- GELU is the form by tanh from the start, for that is what shaders have: what trains is what ships.
- Points lie about the middle of the scene box, wherever the camera stands; cameras come from a range of
  distances and look at a range of places (``render/manifold.py``), and views of any size and field of view
  are drawn at the pitch that was learnt (``render/light_field_rays.py``).
- Views are drawn while the student already learns from the first of them, and kept as bytes.
- Training ends with the real pictures, at a low rate; the released code has none of this.
"""

from training.families import Family
from training.families.light_field import distil

FAMILY = Family(tasks={"distil": distil.TASK})
