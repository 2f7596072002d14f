"""Corner Books: a shop with its own readers, books and purchases. docs/install.md changes it."""
