"""A page that shows a data set: videos with ground truth and sound, and clips as training takes them."""
