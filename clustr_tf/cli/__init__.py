"""The door: flags, and configs that become objects."""
