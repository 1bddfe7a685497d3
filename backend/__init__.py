"""HumanSplat's PyTorch backend: one photo of a person in, one avatar package out. Never imports bpy."""

__version__ = "0.1.0"
