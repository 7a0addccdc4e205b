"""One module per way of drawing; an asset names its own. ``render/renderer.py`` says what a module offers."""
