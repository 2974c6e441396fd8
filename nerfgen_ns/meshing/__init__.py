"""Meshes, voxel grids and colored points of objects, in the class frame: y up, the front toward +z."""
