"""What every room may use: files, console, images, the machine."""
