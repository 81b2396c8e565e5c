"""The trainer, on small painted photographs and, where they are at hand, on real ones."""
