"""The panel in nerfstudio's viewer."""
