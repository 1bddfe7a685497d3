"""File formats of splats, meshes and skeletons: one module each, in numpy and the standard library.

``read.read_splats`` reads splats of any program; ``table.FORMATS`` says what each format keeps; what a whole export
holds is in ``backend.export``.
"""
