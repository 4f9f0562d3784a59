"""Plans of several trainings and what they gave, side by side."""
