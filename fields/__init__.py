"""The networks: foreground and background fields."""
