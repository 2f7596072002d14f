"""The races, by the room whose limits they run for."""
