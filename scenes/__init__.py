"""Where pictures come from: scene files and readers of data sets."""

from scenes.dataset import PosedImages, Views
from scenes.load import load_dataset
from scenes.scene import Scene, load_scene

__all__ = ["PosedImages", "Scene", "Views", "load_dataset", "load_scene"]
