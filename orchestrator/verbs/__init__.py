"""One function a command: what `gpu` does, in the words of its README."""
