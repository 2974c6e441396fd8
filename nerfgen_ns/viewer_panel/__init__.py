"""The panel in nerfstudio's viewer: which identity is shown, and what is kept of it."""
