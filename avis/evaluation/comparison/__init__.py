"""Several models on one data set: how they differ, and whether its videos suffice to tell."""
